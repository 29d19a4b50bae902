// Forward measures log-forwarder: how fast lines come through each of its inputs, beside
// log-cli, which has nothing to remember, and beside rsyslog, where that is installed.
// docs/forwarder.md says how to read the figures.
//
//	go run ./forward
//	go run ./forward -rounds 3 -size 64 -loads write,file,json
//
// Run it in the folder bench: logd, log-cli and log-forwarder are built from source unless
// -bin names a folder that has them. It needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/logd-dev/logd/bench/internal/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rounds := flags.Int("rounds", 5, "`N` rounds, in which the loads take turns")
	size := flags.Int64("size", 256, "`MiB` of lines of 200 bytes, in each load")
	wanted := flags.String("loads", "all", "of `"+names()+"`")
	bin := flags.String("bin", "", "`FOLDER` that has logd, log-cli and log-forwarder")
	data := flags.String("data", "/var/tmp", "`FOLDER` for what is written, on the disk that matters")
	if err := flags.Parse(args); err != nil {
		return err
	}
	some, err := choose(*wanted)
	if err != nil {
		return err
	}
	if *rounds < 1 || *size < 1 {
		return errors.New("rounds and size are at least 1")
	}
	dir, err := os.MkdirTemp(*data, "logd-forward-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *bin == "" {
		*bin = dir
		if err := build(ctx, dir); err != nil {
			return err
		}
	}
	if *bin, err = filepath.Abs(*bin); err != nil {
		return err
	}
	s, err := begin(ctx, *bin, dir, *size<<20/lineLen)
	if err != nil {
		return err
	}
	defer s.end()
	all := make(map[string][]result)
	missing := make(map[string]error)
	for round := range *rounds {
		for i := range some {
			l := some[(i+round)%len(some)]
			if missing[l.name] != nil {
				continue
			}
			r, err := s.measure(ctx, l)
			if errors.Is(err, exec.ErrNotFound) {
				missing[l.name] = err
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			fmt.Fprintf(stderr, "round %d: %s: %.2f s, CPU %.2f s\n", round+1, l.name, r.seconds, r.cpu)
			all[l.name] = append(all[l.name], r)
		}
	}
	return print(stdout, some, all, missing, s.lines)
}

// choose returns the loads that a flag names, in the order of the table.
func choose(wanted string) ([]load, error) {
	if wanted == "all" {
		return loads, nil
	}
	var some []load
	have := strings.Split(wanted, ",")
	for _, name := range have {
		if !slices.ContainsFunc(loads, func(l load) bool { return l.name == name }) {
			return nil, fmt.Errorf("load %q is none of %s", name, names())
		}
	}
	for _, l := range loads {
		if slices.Contains(have, l.name) {
			some = append(some, l)
		}
	}
	return some, nil
}

func names() string {
	var all []string
	for _, l := range loads {
		all = append(all, l.name)
	}
	return strings.Join(all, ",")
}

// build builds the commands into a folder. It must be run in the bench's module.
func build(ctx context.Context, dir string) error {
	for _, name := range []string{"logd", "log-cli", "log-forwarder"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, name), "./cmd/"+name)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// print writes a line for each load: what it takes in all rounds, and how much of the speed
// of log-cli that is.
func print(out io.Writer, some []load, all map[string][]result, missing map[string]error, lines int64) error {
	median := func(name string, of func(result) float64) report.Summary {
		var values []float64
		for _, r := range all[name] {
			values = append(values, of(r))
		}
		return report.Summarize(values)
	}
	rate := func(r result) float64 { return float64(r.lines*lineLen) / 1e6 / r.seconds }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LOAD\tMB/S\tOF LOG-CLI\tGOAL\tCPU, µs A LINE\tWHAT")
	for _, l := range some {
		if err := missing[l.name]; err != nil {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t%s: %v\n", l.name, l.what, err)
			continue
		}
		of, goal := "-", "-"
		if len(all["write"]) > 0 {
			of = fmt.Sprintf("%.2f", median(l.name, rate).Median/median("write", rate).Median)
		}
		if l.goal > 0 {
			goal = fmt.Sprintf("%.1f", l.goal)
		}
		cpu := median(l.name, func(r result) float64 { return r.cpu * 1e6 / float64(r.lines) })
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.name, median(l.name, rate), of, goal, cpu, l.what)
	}
	fmt.Fprintf(w, "\n%d lines of %d bytes; the median of the rounds, with the least and the greatest\n", lines, lineLen)
	return w.Flush()
}

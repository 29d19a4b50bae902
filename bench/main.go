// Bench measures logd beside other systems on this machine: the same works, in
// several rounds in which the systems take turns. It writes a table, JSON and
// charts. docs/performance.md says what the works are and how to read the
// figures.
//
//	go run . -short
//	go run . -systems logd,redis -works W1,W2 -rounds 3 -out results
//	go run . -systems logd,nats -works C1 -short -limit 1h
//	go run . -before HEAD~100 -systems logd,logd-before -works W1,W2,R1,L1
//	go run . -systems logd,logd-tls,logd-mtls,logd-auth -works W1,R1,L1 -short
//
// Run it in this folder: logd, nats-server and nsqd are built from source;
// redis-server is taken from PATH. Servers listen on 127.0.0.1 alone and end
// with the command; their data is in a temporary folder that is removed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/logd-dev/logd/bench/internal/system"
	"github.com/logd-dev/logd/bench/internal/work"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	systems, works []string
	cases          *regexp.Regexp
	rounds         int
	limit          time.Duration
	out, data      string
	note           string
	before         string
	sizes          work.Sizes
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	p, err := newPlan(o, slices.Concat(system.All(), system.Variants(o.before)), stderr)
	if err != nil {
		return err
	}
	return p.run(ctx, commandLine(args))
}

// commandLine returns what was typed, more or less.
func commandLine(args []string) string {
	line := "go run ."
	for _, arg := range args {
		if strings.ContainsAny(arg, " `") {
			arg = strconv.Quote(strings.ReplaceAll(arg, "`", "'"))
		}
		line += " " + arg
	}
	return line
}

// parse reads the flags. -short changes the defaults of the others.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var names, works string
	known := slices.Concat(system.All(), system.Variants(""))
	short := flags.Bool("short", false, "a look at everything within ten minutes: 3 rounds of smaller works")
	flags.StringVar(&names, "systems", "all", "`LIST` of systems to measure: "+strings.Join(systemNames(known), ",")+"; all is all but those that begin with logd-")
	flags.StringVar(&works, "works", "all", "`LIST` of works: "+strings.Join(workNames(), ",")+"; all is all but C1, which is of clusters")
	cases := flags.String("cases", "", "only cases whose name matches the regular expression `RE`")
	flags.IntVar(&o.rounds, "rounds", 5, "`N`umber of rounds (with -short 3)")
	flags.DurationVar(&o.limit, "limit", 4*time.Hour, "begin nothing after so `LONG`, and say what is left out (with -short 9m)")
	duration := flags.Duration("duration", 0, "how long each phase lasts that is measured for a `TIME` (default 5s, with -short 1s)")
	flags.StringVar(&o.out, "out", "results", "write results.md, results.json and charts into the folder `DIR`")
	flags.StringVar(&o.data, "data", "/var/tmp", "keep the servers' data in a temporary folder in `DIR`, which should be on a real disk")
	flags.StringVar(&o.note, "note", "", "a `TEXT` that the results begin with, about their conditions")
	flags.StringVar(&o.before, "before", "", "the `REVISION` that logd-before is built from")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag: want -systems, -works, …; see -help", flags.Arg(0))
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.sizes = work.Full()
	if *short {
		o.sizes = work.Short()
		if !given["rounds"] {
			o.rounds = 3
		}
		if !given["limit"] {
			o.limit = 9 * time.Minute
		}
	}
	if given["duration"] {
		o.sizes.Duration = *duration
	}
	var err error
	if names == "all" {
		o.systems = systemNames(system.All())
	} else if o.systems, err = choose("-systems", names, systemNames(known)); err != nil {
		return nil, err
	}
	if o.works, err = choose("-works", works, workNames()); err != nil {
		return nil, err
	}
	if works == "all" {
		// C1 takes as long as all others, and tells something else.
		o.works = slices.DeleteFunc(o.works, func(name string) bool { return name == work.Cluster })
	}
	if o.cases, err = regexp.Compile(*cases); err != nil {
		return nil, fmt.Errorf("-cases: %w", err)
	}
	switch {
	case o.rounds < 1 || o.rounds > 100:
		return nil, fmt.Errorf("-rounds is %d: want 1 to 100", o.rounds)
	case o.sizes.Duration < time.Millisecond || o.sizes.Duration > 10*time.Minute:
		return nil, fmt.Errorf("-duration is %v: want 1ms to 10m", o.sizes.Duration)
	case o.limit <= 0:
		return nil, fmt.Errorf("-limit is %v: want more than 0", o.limit)
	}
	return o, nil
}

// choose returns the names of a list, all of which must be known.
func choose(name, list string, known []string) ([]string, error) {
	if list == "all" {
		return known, nil
	}
	chosen := strings.Split(list, ",")
	for _, c := range chosen {
		if !slices.Contains(known, c) {
			return nil, fmt.Errorf("%s: there is no %q: want some of %s", name, c, strings.Join(known, ","))
		}
	}
	return chosen, nil
}

func systemNames(of []system.System) []string {
	var names []string
	for _, s := range of {
		names = append(names, s.Name())
	}
	return names
}

func workNames() []string {
	sizes := work.Short()
	var names []string
	for _, w := range sizes.All() {
		names = append(names, w.Name)
	}
	return names
}

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/bench/internal/system"
	"github.com/logd-dev/logd/bench/internal/work"
)

func TestParse(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil || o.rounds != 5 || o.sizes.Duration != work.Full().Duration || len(o.systems) != 4 || len(o.works) != 8 {
		t.Errorf("defaults are %+v, error %v", o, err)
	}
	o, err = parse([]string{"-short", "-systems", "logd,redis", "-works", "W1", "-duration", "20ms", "-limit", "1m"}, io.Discard)
	if err != nil || o.rounds != 3 || o.limit != time.Minute || o.sizes.Duration != 20*time.Millisecond ||
		o.sizes.ReadBytes != work.Short().ReadBytes || !slices.Equal(o.systems, []string{"logd", "redis"}) || !slices.Equal(o.works, []string{"W1"}) {
		t.Errorf("got %+v, error %v", o, err)
	}
	if o, err = parse([]string{"-short", "-rounds", "7"}, io.Discard); err != nil || o.rounds != 7 {
		t.Errorf("got %+v, error %v: want what was given to be stronger than -short", o, err)
	}
	if o, err = parse([]string{"-works", "C1", "-cases", "kill"}, io.Discard); err != nil || !slices.Equal(o.works, []string{work.Cluster}) || !o.cases.MatchString("kill -9") || o.cases.MatchString("cold") {
		t.Errorf("got %+v, error %v", o, err)
	}
	for _, bad := range []string{
		"-systems kafka", "-works W9", "-works W1,", "-rounds 0", "-rounds 101", "-duration 1us", "-duration 11m", "-limit 0s", "W1", "-none", "-cases (",
	} {
		if _, err := parse(strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("no error for %s", bad)
		}
	}
	var help bytes.Buffer
	if _, err := parse([]string{"-help"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "logd,nats,redis,nsq") {
		t.Errorf("error %v, help %q", err, &help)
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine([]string{"-short", "-note", "two `words`"})
	if want := `go run . -short -note "two 'words'"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestDocs: docs/performance.md has every flag and every work.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	var help bytes.Buffer
	parse([]string{"-help"}, &help)
	flags := regexp.MustCompile(`(?m)^  -(\w+)`).FindAllStringSubmatch(help.String(), -1)
	if len(flags) < 9 {
		t.Errorf("help has %d flags: %s", len(flags), &help)
	}
	for _, f := range flags {
		if !strings.Contains(text, "| `-"+f[1]+"`") && !strings.Contains(text, "| `-"+f[1]+" ") {
			t.Errorf("-%s is not documented", f[1])
		}
	}
	for _, w := range workNames() {
		if !strings.Contains(text, "\n| "+w+" | ") || !strings.Contains(text, "- **"+w+"**") {
			t.Errorf("what %s is, or what bounds it, is not documented", w)
		}
	}
}

// broken is a system whose servers do not start.
type broken struct {
	system.System // nothing else is called
	name          string
	missing       error
	starts        int
	started       func()
}

func (b *broken) Name() string                       { return b.name }
func (b *broken) Version() string                    { return "1" }
func (b *broken) Durability(bool) string             { return "lost" }
func (b *broken) Traits() system.Traits              { return system.Traits{Replays: true} }
func (b *broken) Find(context.Context, string) error { return b.missing }
func (b *broken) Start(_ context.Context, o system.Options) (system.Server, error) {
	b.starts++
	if b.started != nil {
		b.started()
	}
	// What is left in the folder must go, too.
	return nil, errors.Join(os.WriteFile(filepath.Join(o.Dir, "data"), nil, 0o600), errors.New("no room | no server"))
}

// newTestPlan returns a plan for W2 and S1 at once, in two rounds.
func newTestPlan(t *testing.T, systems ...system.System) *plan {
	t.Helper()
	o := &options{
		cases: regexp.MustCompile(""),
		works: []string{"W2", "S1"}, rounds: 2, limit: time.Minute, out: t.TempDir(), data: t.TempDir(), note: "A test.",
		sizes: work.Sizes{Duration: time.Millisecond, WriteBytes: 1, ReadBytes: 1, Topics: []int{1}, StartBytes: []int64{1, 2}, LimitBytes: 1 << 16},
	}
	for _, s := range systems {
		o.systems = append(o.systems, s.Name())
	}
	p, err := newPlan(o, systems, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// results returns the table that the plan wrote.
func results(t *testing.T, p *plan) string {
	t.Helper()
	if left, err := os.ReadDir(p.options.data); err != nil || len(left) != 0 {
		t.Errorf("%v, error %v are left of the data", left, err)
	}
	md, err := os.ReadFile(filepath.Join(p.options.out, "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(md)
}

func TestFailuresAreToldAndTheRestGoesOn(t *testing.T) {
	one, two := &broken{name: "one"}, &broken{name: "two"}
	gone := &broken{name: "gone", missing: fmt.Errorf("%w: not in PATH", system.ErrNotInstalled)}
	p := newTestPlan(t, one, gone, two)
	if err := p.run(t.Context(), "bench -x"); err != nil {
		t.Fatal(err)
	}
	// Two rounds of five cases.
	if one.starts != 10 || two.starts != 10 || gone.starts != 0 {
		t.Errorf("%d, %d and %d starts: want 10, 10 and 0", one.starts, two.starts, gone.starts)
	}
	md := results(t, p)
	for _, want := range []string{
		"2 rounds, by `bench -x`", "**A test.**", "- one: 1\n", "- gone: left out: not installed: not in PATH\n",
		"- two, 64 writers: failed: no room / no server\n", "| CRC-32 (IEEE), one core | machine |",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("the results lack %q", want)
		}
	}
	if t.Failed() {
		t.Log(md)
	}
}

func TestSystemsTakeTurns(t *testing.T) {
	var order []string
	one, two := &broken{name: "one"}, &broken{name: "two"}
	one.started = func() { order = append(order, "one") }
	two.started = func() { order = append(order, "two") }
	p := newTestPlan(t, one, two)
	p.works = p.works[:1]
	p.works[0].Cases = p.works[0].Cases[:2]
	if err := p.run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	want := "one two one two two one two one"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	results(t, p)
}

func TestNothingIsBegunAfterTheLimit(t *testing.T) {
	s := &broken{name: "one"}
	p := newTestPlan(t, s)
	p.options.limit = 0
	if err := p.run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if md := results(t, p); s.starts != 0 || !strings.Contains(md, "**12 cases were left out") {
		t.Errorf("%d starts\n%s", s.starts, md)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &broken{name: "one", started: cancel}
	p := newTestPlan(t, s)
	if err := p.run(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if md := results(t, p); s.starts != 1 || !strings.Contains(md, "interrupted") {
		t.Errorf("%d starts\n%s", s.starts, md)
	}
}

func TestNoSystem(t *testing.T) {
	p := newTestPlan(t, &broken{name: "gone", missing: system.ErrNotInstalled})
	if err := p.run(t.Context(), ""); err == nil {
		t.Error("no error although there is nothing to measure")
	}
	p = newTestPlan(t, &broken{name: "bad", missing: errors.New("does not build")})
	if err := p.run(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "does not build") {
		t.Errorf("error %v", err)
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	if err := room(dir, 1<<60); err == nil {
		t.Error("there is room for an exbibyte")
	}
	if err := room(filepath.Join(dir, "none"), 0); err == nil {
		t.Error("there is room where there is no folder")
	}
}

func TestMachine(t *testing.T) {
	names := make(map[string]bool)
	for _, f := range machine(t.TempDir()) {
		names[f.Name] = f.Value != ""
	}
	for _, want := range []string{"cores", "memory", "kernel", "file system of the data", "Go"} {
		if !names[want] {
			t.Errorf("nothing is known of: %s", want)
		}
	}
	if field("/proc/none", "x") != "" || fileSystem("/proc/none") != "" {
		t.Error("something is known of what is not there")
	}
}

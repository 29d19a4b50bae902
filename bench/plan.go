package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
	"github.com/logd-dev/logd/bench/internal/work"
)

// plan is one run: the systems and works that were chosen, and what has been
// measured so far.
type plan struct {
	options *options
	dir     string // temporary; removed at the end
	systems []system.System
	works   []work.Work
	report  report.Report
	log     io.Writer
	began   time.Time
	skipped int // cases that the time was not enough for
}

// newPlan returns the plan for what the options choose of the systems. It makes
// the folder that run removes.
func newPlan(o *options, systems []system.System, log io.Writer) (*plan, error) {
	p := &plan{options: o, log: log}
	for _, s := range systems {
		if slices.Contains(o.systems, s.Name()) {
			p.systems = append(p.systems, s)
		}
	}
	for _, w := range o.sizes.All() {
		if slices.Contains(o.works, w.Name) {
			p.works = append(p.works, w)
		}
	}
	dir, err := os.MkdirTemp(o.data, "logd-bench-")
	if err != nil {
		return nil, fmt.Errorf("-data: %w", err)
	}
	p.dir = dir
	return p, nil
}

// run measures and writes the results, of what it got when ctx ends, too.
func (p *plan) run(ctx context.Context, command string) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	p.began = time.Now()
	p.report = report.Report{
		Began: p.began, Command: command, Rounds: p.options.rounds,
		Machine: machine(p.dir), Works: []report.Work{work.Limits},
	}
	if p.options.note != "" {
		p.report.Notes = append(p.report.Notes, p.options.note)
	}
	for _, w := range p.works {
		p.report.Works = append(p.report.Works, w.Work)
	}
	if err := p.find(ctx); err != nil {
		return err
	}
	load := loadAverage()
	for round := 1; round <= p.options.rounds && ctx.Err() == nil; round++ {
		p.limits(ctx, round)
		for _, w := range p.works {
			for _, c := range w.Cases {
				if !p.options.cases.MatchString(c.Name) {
					continue
				}
				for i := range p.systems {
					// Nobody is always first.
					s := p.systems[(i+round-1)%len(p.systems)]
					p.trial(ctx, w, c, s, round)
				}
			}
		}
	}
	p.report.Took = time.Since(p.began)
	p.report.Machine = append(p.report.Machine, report.Fact{
		Name: "load average (1, 5, 15 min)", Value: fmt.Sprintf("%s before the first round, %s after the last", load, loadAverage()),
	})
	if p.skipped > 0 {
		p.report.Notes = append(p.report.Notes, fmt.Sprintf("%d cases were left out: the time limit was reached, or the run was interrupted.", p.skipped))
	}
	if err := p.report.Write(p.options.out); err != nil {
		return err
	}
	fmt.Fprintf(p.log, "wrote %s\n", filepath.Join(p.options.out, "results.md"))
	return context.Cause(ctx)
}

// find finds or builds the systems. One that is not installed is left out.
func (p *plan) find(ctx context.Context) error {
	bin := filepath.Join(p.dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	var found []system.System
	for _, s := range p.systems {
		fmt.Fprintf(p.log, "find or build %s\n", s.Name())
		switch err := s.Find(ctx, bin); {
		case errors.Is(err, system.ErrNotInstalled):
			fmt.Fprintf(p.log, "%s is left out: %v\n", s.Name(), err)
			p.report.Systems = append(p.report.Systems, report.System{Name: s.Name(), Missing: err.Error()})
		case err != nil:
			return fmt.Errorf("%s: %w", s.Name(), err)
		default:
			found = append(found, s)
			p.report.Systems = append(p.report.Systems, report.System{Name: s.Name(), Version: s.Version()})
		}
	}
	if p.systems = found; len(found) == 0 {
		return errors.New("none of the chosen systems is here")
	}
	p.report.Systems = append(p.report.Systems, report.System{Name: work.Machine})
	return nil
}

// limits measures the machine's limits.
func (p *plan) limits(ctx context.Context, round int) {
	sample := report.Sample{Work: work.Limits.Name, System: work.Machine, Round: round}
	p.inFolder(ctx, &sample, time.Minute+6*p.options.sizes.Duration, 2*p.options.sizes.LimitBytes, func(ctx context.Context, dir string) error {
		return p.options.sizes.MeasureLimits(ctx, dir, func(name string, v report.Values) {
			s := sample
			s.Case, s.Values = name, v
			p.add(s)
		})
	})
}

// trial measures one case of one system. What fails becomes a sample that says
// so.
func (p *plan) trial(ctx context.Context, w work.Work, c work.Case, s system.System, round int) {
	sample := report.Sample{
		Work: w.Name, Case: c.Name, System: s.Name(), Durability: s.Durability(c.Sync), Round: round,
	}
	if c.Skip != nil {
		if sample.Missing = c.Skip(s); sample.Missing != "" {
			p.add(sample)
			return
		}
	}
	p.inFolder(ctx, &sample, c.Limit, c.Bytes, func(ctx context.Context, dir string) error {
		t := &work.Trial{Case: c, System: s, Options: system.Options{Dir: dir, Sync: c.Sync, Positions: c.Positions}, Round: round}
		t.Record = func(name string, v report.Values) {
			s := sample
			s.Case, s.Values = name, v
			if t.Durability != "" {
				s.Durability = t.Durability
			}
			p.add(s)
		}
		t.Miss = func(name, reason string) {
			s := sample
			s.Case, s.Missing = name, reason
			p.add(s)
		}
		defer t.Close()
		return c.Run(ctx, t)
	})
}

// inFolder runs f with a folder that is removed afterwards, bounded in time,
// if there are time and room left. A failure is added as a sample.
func (p *plan) inFolder(ctx context.Context, sample *report.Sample, limit time.Duration, bytes int64, f func(ctx context.Context, dir string) error) {
	if ctx.Err() != nil || time.Since(p.began) > p.options.limit {
		p.skipped++
		return
	}
	dir := filepath.Join(p.dir, "data")
	err := room(p.dir, bytes)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
		err = f(bounded, dir)
		cancel()
		err = errors.Join(err, os.RemoveAll(dir), work.Settle(p.dir))
	}
	switch {
	case err != nil && ctx.Err() != nil:
		p.skipped++ // interrupted
	case err != nil:
		failed := *sample
		failed.Missing, failed.Failed = "failed: "+err.Error(), true
		p.add(failed)
	}
}

// room returns an error if there is no room for so many bytes.
func room(dir string, bytes int64) error {
	const spare = 1 << 30
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < bytes+spare {
		return fmt.Errorf("not enough room on disk: want %d MiB, there are %d MiB", (bytes+spare)>>20, free>>20)
	}
	return nil
}

// add keeps a sample and tells it.
func (p *plan) add(s report.Sample) {
	p.report.Samples = append(p.report.Samples, s)
	what := s.Missing
	if what == "" {
		what = s.Values.String()
	}
	fmt.Fprintf(p.log, "%6s  round %d  %s  %-7s %s: %s\n",
		time.Since(p.began).Round(time.Second), s.Round, s.Work, s.System, s.Case, what)
}

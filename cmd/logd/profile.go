package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"runtime/trace"
)

// startProfiles begins the profiles that flags ask for. The function that it
// returns ends them and closes their files.
func (a *app) startProfiles() (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	for _, p := range []struct {
		flag, file string
		start      func(io.Writer) error
		stop       func()
	}{
		{"cpuprofile", a.cpuProfile, pprof.StartCPUProfile, pprof.StopCPUProfile},
		{"trace", a.traceFile, trace.Start, trace.Stop},
	} {
		if p.file == "" {
			continue
		}
		f, err := os.Create(p.file)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--%s: %w", p.flag, err), stop())
		}
		if err := p.start(f); err != nil {
			return nil, errors.Join(fmt.Errorf("--%s: %w", p.flag, err), f.Close(), stop())
		}
		stops = append(stops, func() error {
			p.stop()
			return f.Close()
		})
	}
	return stop, nil
}

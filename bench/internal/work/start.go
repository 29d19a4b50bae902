package work

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// tailBytes is what is written just before kill -9.
const tailBytes = 16 << 20

// memoryLimit is how much data a server that has it all in memory is given.
const memoryLimit = 4e9

// start is S1: how long a server takes to be there again.
func (s *Sizes) start() Work {
	w := Work{Work: report.Work{
		Name: "S1", Title: "start-up", Chart: report.Start,
		What: fmt.Sprintf("One topic of messages of %s is written. The server is stopped by SIGTERM and started; %d MiB more are written, it is "+
			"killed by SIGKILL at once and started. The time is from the start of the process to its first answer, the files being in the page cache.",
			bytesName(readSize), tailBytes>>20),
	}}
	for _, bytes := range s.StartBytes {
		w.Cases = append(w.Cases, Case{
			Name:  fmt.Sprintf("%g GB", float64(bytes)/1e9),
			Limit: 10 * time.Minute,
			Bytes: bytes + bytes/2,
			Skip: func(s system.System) string {
				switch t := s.Traits(); {
				case !t.Replays:
					return "a queue: nothing stays"
				case t.InMemory && bytes > memoryLimit:
					return "needs as much memory"
				}
				return ""
			},
			Run: func(ctx context.Context, t *Trial) error { return runStart(ctx, t, bytes) },
		})
	}
	return w
}

func runStart(ctx context.Context, t *Trial, bytes int64) error {
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topic, err := topic(ctx, server)
	if err != nil {
		return err
	}
	if err := fill(ctx, server, topic, bytes/readSize, readSize); err != nil {
		return err
	}
	if err := server.Process().Stop(stopLimit); err != nil {
		return err
	}
	server, err = t.timeStart(ctx, t.Case.Name+", clean stop")
	if err != nil {
		return err
	}
	if err := fill(ctx, server, topic, tailBytes/readSize, readSize); err != nil {
		return err
	}
	server.Process().Kill()
	_, err = t.timeStart(ctx, t.Case.Name+", kill -9")
	return err
}

// timeStart starts the server and records how long that took.
func (t *Trial) timeStart(ctx context.Context, name string) (system.Server, error) {
	began := time.Now()
	server, err := t.start(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	u, err := server.Process().Usage()
	if err != nil {
		return nil, err
	}
	t.Record(name, report.Values{
		report.Start: took.Seconds(),
		report.CPU:   u.CPUSeconds,
		report.Peak:  float64(u.PeakBytes) / (1 << 20),
		report.Files: float64(u.Files),
	})
	return server, nil
}

package work

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// readSize is the length of the messages that are read.
const readSize = 1024

// The parts of R1.
const (
	oneReader   = "1 reader"
	fourReaders = "4 readers"
	coldReader  = "1 reader, cold cache"
)

// read is R1: how fast a reader gets what was missed.
func (s *Sizes) read() Work {
	return Work{
		Work: report.Work{
			Name: "R1", Title: "catch-up read", Chart: report.Bytes,
			What: fmt.Sprintf("%d MiB of messages of %s are written and synced, then read from the oldest on and counted: by one reader and by four at "+
				"once from the page cache, and by one after a restart with nothing in the page cache (posix_fadvise). MB/s are of all readers "+
				"together, of bodies alone.", s.ReadBytes>>20, bytesName(readSize)),
		},
		Cases: []Case{{
			Name:  "read",
			Limit: 10 * time.Minute,
			Bytes: 2 * s.ReadBytes,
			Run:   s.runRead,
		}},
	}
}

func (s *Sizes) runRead(ctx context.Context, t *Trial) error {
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	topic, err := topic(ctx, server)
	if err != nil {
		return err
	}
	n := s.ReadBytes / readSize
	if err := fill(ctx, server, topic, n, readSize); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	v, err := readAll(ctx, server, topic, n, 1)
	if err != nil {
		return err
	}
	t.Record(oneReader, v)
	if !t.System.Traits().Replays {
		t.Miss(fourReaders, "what was read is gone")
		t.Miss(coldReader, "what was read is gone")
		return nil
	}
	if v, err = readAll(ctx, server, topic, n, 4); err != nil {
		return err
	}
	t.Record(fourReaders, v)
	if t.System.Traits().InMemory {
		t.Miss(coldReader, "all data is in memory")
		return nil
	}
	return t.readCold(ctx, server, topic, n)
}

// readCold reads after a restart, with none of the files in the page cache.
func (t *Trial) readCold(ctx context.Context, server system.Server, topic string, n int64) error {
	if err := server.Process().Stop(stopLimit); err != nil {
		return err
	}
	server, err := t.start(ctx)
	if err != nil {
		return err
	}
	// A start may read everything.
	if err := t.settle(); err != nil {
		return err
	}
	if err := dropCache(t.Options.Dir); err != nil {
		return err
	}
	before, err := server.Process().Usage()
	if err != nil {
		return err
	}
	v, err := readAll(ctx, server, topic, n, 1)
	if err != nil {
		return err
	}
	after, err := server.Process().Usage()
	if err != nil {
		return err
	}
	v[report.Disk] = float64(after.DiskBytes-before.DiskBytes) / (1 << 20)
	t.Record(coldReader, v)
	return nil
}

// readAll lets the readers read the topic's first n messages, and checks that
// they get them.
func readAll(ctx context.Context, server system.Server, topic string, n int64, readers int) (report.Values, error) {
	return measure(server, func() (done, error) {
		var messages, bytes atomic.Int64
		err := parallel(ctx, readers, func(ctx context.Context, _ int) error {
			var m, b int64
			err := server.CatchUp(ctx, topic, n, func(body []byte) {
				m++
				b += int64(len(body))
			})
			messages.Add(m)
			bytes.Add(b)
			return err
		})
		d := done{messages: messages.Load(), bytes: bytes.Load()}
		if want := n * int64(readers); err == nil && (d.messages != want || d.bytes != want*readSize) {
			err = fmt.Errorf("read %d messages of %d bytes: want %d of %d", d.messages, d.bytes, want, want*readSize)
		}
		return d, err
	})
}

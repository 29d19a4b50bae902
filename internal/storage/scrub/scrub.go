// Package scrub reads all that is stored, from time to time and slowly, so that
// damage is found before a reader meets it. What to do about damage is up to those
// whose partitions are read.
//
// A [Scrubber] gives way to everybody: it reads no more than so many bytes a
// second, one file at a time, and takes no lock until damage is found. It looks at
// what is there: a partition or topic may go while it is at it.
//
// It leaves the page cache alone: what it reads once is the first that the kernel
// drops, and to drop it itself would cost readers and writers the pages that
// they are using.
package scrub

import (
	"errors"
	"io"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/scan"
)

const (
	// every is from the beginning of one pass to that of the next.
	every = 7 * 24 * time.Hour
	// step is about how many bytes are checked between two pauses.
	step = 256 << 10
)

// Partition is what is checked.
type Partition interface {
	// Gone reports whether the partition was removed, or its topic deleted.
	Gone() bool
	// Topic returns the topic's name, Base the partition's offset.
	Topic() string
	Base() int64
	// Size returns up to which position the partition is to be checked now.
	Size() int64
	File() *files.File
	// Past returns the end of the known damage that the position lies in, or the
	// position itself.
	Past(pos int64) int64
	// Damaged is told that no batch is at a position where one must be, so often
	// before in a row. The damage is known when it returns nil, unless what said
	// that a batch must be there was wrong.
	Damaged(pos int64, before int) error
}

// Scrubber checks partitions, in a goroutine of its own.
type Scrubber struct {
	// Partitions returns what there is, in the order in which it is checked.
	Partitions func() iter.Seq[Partition]
	Rate       int64 // bytes a second
	Logger     *slog.Logger
	Now        func() time.Time
	// After returns a channel that is closed after a while, unless stop was called.
	After func(d time.Duration) (over <-chan struct{}, stop func() bool)

	due   time.Time // when all that was checked may have been, at that rate
	quit  chan struct{}
	group sync.WaitGroup

	checked, damaged, passed atomic.Int64
}

// Start begins to check, and goes on until Stop.
func (sb *Scrubber) Start() {
	sb.quit = make(chan struct{})
	sb.group.Go(sb.run)
}

// Stop ends a pass at once and waits for it.
func (sb *Scrubber) Stop() {
	close(sb.quit)
	sb.group.Wait()
}

// Counts are what a Scrubber has done.
type Counts struct {
	Checked int64     // bytes
	Damaged int64     // places where damage was found
	Passed  time.Time // when the last pass ended, to the second; zero for never
}

// Counts returns what was done until now.
func (sb *Scrubber) Counts() Counts {
	c := Counts{Checked: sb.checked.Load(), Damaged: sb.damaged.Load()}
	if at := sb.passed.Load(); at > 0 {
		c.Passed = time.Unix(at, 0)
	}
	return c
}

func (sb *Scrubber) run() {
	for {
		began := sb.Now()
		if !sb.pass() {
			return
		}
		sb.passed.Store(sb.Now().Unix())
		if !sb.wait(every - sb.Now().Sub(began)) {
			return
		}
	}
}

// pass checks everything once. It reports false if it was told to stop.
func (sb *Scrubber) pass() bool {
	sb.due = time.Time{}
	var buf []byte
	for p := range sb.Partitions() {
		sc := &scan.Scanner{Topic: p.Topic(), Buf: buf[:0]}
		if !sb.partition(p, sc) {
			return false
		}
		buf = sc.Buf
	}
	return true
}

// errDamaged is a place without a batch where one must be.
var errDamaged = errors.New("no batch where one must be")

// partition checks a partition. It reports false if it was told to stop.
func (sb *Scrubber) partition(p Partition, sc *scan.Scanner) bool {
	for pos, again := int64(0), 0; ; {
		if p.Gone() {
			return true
		}
		sc.Size = p.Size()
		if pos >= sc.Size {
			return true
		}
		start := pos
		err := sb.step(p, sc, &pos)
		sb.checked.Add(pos - start)
		if pos > start {
			again = 0
		}
		if errors.Is(err, errDamaged) {
			err = p.Damaged(pos, again)
			again++
			if p.Past(pos) > pos {
				sb.damaged.Add(1)
			}
		}
		if err != nil {
			if !p.Gone() {
				sb.Logger.Error("stored batches can't be checked", "topic", p.Topic(), "file", p.File().Name(), "offset", p.Base()+pos, "err", err)
			}
			return true
		}
		if !sb.pace(pos - start) {
			return false
		}
	}
}

// step checks the batches from pos on, some of them, and moves pos behind those
// that are good or known as damaged. The error is errDamaged at one that is not.
func (sb *Scrubber) step(p Partition, sc *scan.Scanner, pos *int64) error {
	f, err := p.File().Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.File().Release()
	sc.File = f
	for start := *pos; *pos < sc.Size && *pos-start < step; {
		if end := p.Past(*pos); end > *pos {
			*pos = end
			continue
		}
		_, n, ok, err := sc.BatchAt(*pos)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errDamaged // the file was cut short
		case err != nil:
			return err
		case !ok:
			return errDamaged
		}
		*pos += n
	}
	return nil
}

// pace waits until so many bytes more may have been checked. It reports false if
// it was told to stop.
func (sb *Scrubber) pace(n int64) bool {
	now := sb.Now()
	if sb.due.Before(now) {
		sb.due = now // what was not used is not made up for
	}
	sb.due = sb.due.Add(time.Duration(float64(n) / float64(sb.Rate) * float64(time.Second)))
	return sb.wait(sb.due.Sub(now))
}

// wait waits on the clock, and reports false if it was told to stop.
func (sb *Scrubber) wait(d time.Duration) bool {
	select {
	case <-sb.quit:
		return false
	default:
	}
	if d <= 0 {
		return true
	}
	over, stop := sb.After(d)
	defer stop()
	select {
	case <-over:
		return true
	case <-sb.quit:
		return false
	}
}

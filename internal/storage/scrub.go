package storage

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/storage/walk"
)

const (
	// scrubEvery is from the beginning of one pass to that of the next.
	scrubEvery = 7 * 24 * time.Hour
	// scrubStep is about how many bytes are checked between two pauses.
	scrubStep = 256 << 10
)

// scrubber reads all that is stored, from time to time and slowly, so that damage
// is set aside before a reader meets it. It gives way to everybody by reading no
// more than so many bytes a second, one file at a time, and takes no lock until
// damage is found. It looks at what is synced alone, and at what is there: a
// partition or topic may go while it is at it.
//
// It leaves the page cache alone: what it reads once is the first that the kernel
// drops, and to drop it itself would cost readers and writers the pages that
// they are using.
type scrubber struct {
	store *Store
	rate  int64     // bytes a second
	due   time.Time // when all that was checked may have been, at that rate
	quit  chan struct{}
	group sync.WaitGroup

	checked atomic.Int64 // bytes
	damaged atomic.Int64 // places where damage was found
	passed  atomic.Int64 // when the last pass ended, in seconds since 1970; 0 for never
}

func startScrub(s *Store) *scrubber {
	sb := &scrubber{store: s, rate: s.o.ScrubRate, quit: make(chan struct{})}
	if sb.rate > 0 {
		sb.group.Go(sb.run)
	}
	return sb
}

// stop ends a pass at once and waits for it.
func (sb *scrubber) stop() {
	if sb != nil {
		close(sb.quit)
		sb.group.Wait()
	}
}

func (sb *scrubber) run() {
	clock := sb.store.o.Clock
	for {
		began := clock.Now()
		if !sb.pass() {
			return
		}
		sb.passed.Store(clock.Now().Unix())
		if !sb.wait(scrubEvery - clock.Now().Sub(began)) {
			return
		}
	}
}

// pass checks everything once. It reports false if it was told to stop.
func (sb *scrubber) pass() bool {
	sb.due = time.Time{}
	logs := sb.store.all()
	slices.SortFunc(logs, func(a, b *Log) int { return strings.Compare(a.name, b.name) })
	var buf []byte
	for _, l := range logs {
		for _, p := range l.partitions() {
			sc := &scan.Scanner{Topic: l.name, Buf: buf[:0]}
			if !sb.partition(l, p, sc) {
				return false
			}
			buf = sc.Buf
		}
	}
	return true
}

// partition checks a partition as far as it is synced. It reports false if it was
// told to stop.
func (sb *scrubber) partition(l *Log, p *partition, sc *scan.Scanner) bool {
	for pos, again := int64(0), 0; ; {
		if l.Deleted() || l.begin() > p.base {
			return true
		}
		sc.Size = min(l.synced.Load(), p.end.Load()) - p.base
		if pos >= sc.Size {
			return true
		}
		start := pos
		err := sb.step(l, p, sc, &pos)
		sb.checked.Add(pos - start)
		if pos > start {
			again = 0
		}
		if errors.Is(err, walk.ErrDamaged) {
			if err = l.ensureIndex(p); err == nil {
				err = l.examine(p.base+pos, again)
			}
			again++
			if l.pastDamage(p.base+pos) > p.base+pos {
				sb.damaged.Add(1)
			}
		}
		if err != nil {
			if !l.Deleted() && l.begin() <= p.base {
				sb.store.log.Error("stored batches can't be checked", "topic", l.name, "file", p.file.Name, "offset", p.base+pos, "err", err)
			}
			return true
		}
		if !sb.pace(pos - start) {
			return false
		}
	}
}

// step checks the batches from pos on, some of them, and moves pos behind those
// that are good or known as damaged. The error is walk.ErrDamaged at one that is not.
func (sb *scrubber) step(l *Log, p *partition, sc *scan.Scanner, pos *int64) error {
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	defer p.file.Release()
	sc.File = f
	for start := *pos; *pos < sc.Size && *pos-start < scrubStep; {
		if end := l.pastDamage(p.base+*pos) - p.base; end > *pos {
			*pos = end
			continue
		}
		_, n, ok, err := sc.BatchAt(*pos)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return walk.ErrDamaged // the file was cut short
		case err != nil:
			return err
		case !ok:
			return walk.ErrDamaged
		}
		*pos += n
	}
	return nil
}

// pace waits until so many bytes more may have been checked. It reports false if
// it was told to stop.
func (sb *scrubber) pace(n int64) bool {
	now := sb.store.o.Clock.Now()
	if sb.due.Before(now) {
		sb.due = now // what was not used is not made up for
	}
	sb.due = sb.due.Add(time.Duration(float64(n) / float64(sb.rate) * float64(time.Second)))
	return sb.wait(sb.due.Sub(now))
}

// wait waits on the store's clock, and reports false if it was told to stop.
func (sb *scrubber) wait(d time.Duration) bool {
	select {
	case <-sb.quit:
		return false
	default:
	}
	if d <= 0 {
		return true
	}
	over := make(chan struct{})
	timer := sb.store.o.Clock.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-sb.quit:
		return false
	}
}

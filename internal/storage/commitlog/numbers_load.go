package commitlog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/walk"
	"github.com/logd-dev/logd/internal/vfs"
)

// errNumbersWrong is a table that is made of what is no longer so, and
// errNumbersUnwanted one that nobody will use.
var (
	errNumbersWrong    = errors.New("the log has changed before its end")
	errNumbersLost     = errors.New("some of the newest batches are set aside")
	errNumbersUnwanted = errors.New("the store is being closed, or the topic was deleted")
)

// wantsNumbers returns nil while somebody may use the table that is being made. To
// read the log for it may take long: it is asked between the reads.
func (l *Log) wantsNumbers() error {
	if l.store.Closing.Load() || l.Deleted() {
		return errNumbersUnwanted
	}
	return nil
}

// loadNumbers makes the table. If that fails there is none, and it is tried again
// when it is asked for again.
func (l *Log) loadNumbers() {
	var err error
	for try := range 10 { // each time something was found damaged, or cut off
		if err = l.tryNumbers(try == 0); !errors.Is(err, errNumbersWrong) && !errors.Is(err, errRescanned) {
			break
		}
	}
	if err != nil && !errors.Is(err, errNumbersLost) && l.wantsNumbers() == nil {
		l.store.Logger.Error("numbered batches are refused: what the log has of them can't be read", "topic", l.name, "err", err)
	}
}

func (l *Log) tryNumbers(cached bool) error {
	cuts, aside := l.numbers.cuts.Load(), l.journal.Damaged()
	if l.store.Managed {
		if err := l.lacksNumbers(*aside); err != nil {
			return err
		}
	}
	var table *producers.Table
	var at int64
	if cached {
		table, at = l.readNumbers(*aside)
	}
	saved := at
	if table == nil {
		var err error
		if at, err = l.numbersFrom(); err != nil {
			return err
		}
		table = producers.New(l.store.Producers)
	}
	// Most of it is read while others append.
	const last = 1 << 20
	for {
		end := l.next.Load()
		if end-at <= last {
			break
		}
		var err error
		if at, err = l.addNumbers(table, at, end); err != nil {
			return l.lookInto(err)
		}
	}
	return l.lookInto(l.takeNumbers(table, at, saved, aside, cuts))
}

// lacksNumbers returns errNumbersLost if batches are set aside that the table would
// know. Another copy has them and puts them back; until then one that is sent again
// would be stored again.
func (l *Log) lacksNumbers(aside []layout.Range) error {
	if len(aside) == 0 {
		return nil
	}
	from, err := l.numbersFrom()
	if from = max(from, l.trimmedTo.Load()); err == nil && layout.Clear(aside, from, l.next.Load()) < l.next.Load() {
		err = errNumbersLost
	}
	return err
}

// takeNumbers adds the newest batches to a table, from at on, and makes it the
// log's, if that is still what it was: saved is what the cache was good for, aside
// what was set aside, and cuts how often the log had been cut off.
func (l *Log) takeNumbers(table *producers.Table, at, saved int64, aside *[]layout.Range, cuts int64) error {
	nb := &l.numbers
	l.writer.Lock()
	defer l.writer.Unlock()
	if _, err := l.addNumbers(table, at, l.next.Load()); err != nil {
		return err
	}
	if l.journal.Damaged() != aside || nb.cuts.Load() != cuts {
		return errNumbersWrong
	}
	table.Trim(l.begin())
	nb.table = table
	nb.saved.Store(saved)
	nb.bytes.Store(table.Bytes())
	nb.used.Store(l.store.Clock.Now().UnixMilli())
	nb.made.Store(aside)
	l.store.Numbered.Arm() // there may be too many now
	return nil
}

// unreadError is a batch whose envelope could not be read.
type unreadError struct {
	p      *partition
	ix     *index.Index
	offset int64
	err    error
}

func (e *unreadError) Error() string { return e.err.Error() }

// lookInto looks into what could not be read. Caller does not hold writer.
func (l *Log) lookInto(err error) error {
	if e, ok := err.(*unreadError); ok {
		return l.readError(e.p, e.ix, e.offset, e.err)
	}
	return err
}

// readNumbers reads the cache, if it is there and is of this log as it is, with what
// is set aside, and returns the offset that it is good for.
func (l *Log) readNumbers(aside []layout.Range) (*producers.Table, int64) {
	if l.folder.Enter() != nil {
		return nil, 0 // deleted
	}
	defer l.folder.Leave()
	name := layout.ProducersFile(l.dir())
	b, err := vfs.ReadFile(l.store.FS, name, producers.MaxCacheLen(l.store.Producers))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0
	}
	var t *producers.Table
	var o producers.Origin
	if err == nil {
		t, o, err = producers.ParseCache(b)
	}
	switch {
	case err != nil:
	case o.Topic != l.id:
		err = errors.New("it is of another topic")
	case o.Window != l.store.Producers:
		err = fmt.Errorf("it was made with %d batches", o.Window)
	case o.Offset > l.next.Load() || o.Oldest > l.begin() || o.Damage != damageBefore(aside, o.Offset):
		err = errors.New("the log is another one")
	default:
		return t, o.Offset
	}
	l.store.Logger.Debug("cache of numbered batches is not used", "topic", l.name, "file", name, "err", err)
	return nil, 0
}

// numbersFrom returns an offset from which on there are as many batches as the
// table looks back, or at which the log begins.
func (l *Log) numbersFrom() (int64, error) {
	want := l.store.Producers
	parts := l.partitions()
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		var from int64
		var batches int64
		err := retryOnce(func() error {
			if p.sum.Load() == nil {
				if err := l.ensureIndexWhile(p, l.wantsNumbers); err != nil {
					return err
				}
			}
			sum, err := l.partitionTotals(p, min(p.end.Load(), l.next.Load()))
			if err != nil {
				return err
			}
			from, batches = p.base, sum.Batches
			if batches <= want {
				return nil
			}
			if err := l.ensureIndexWhile(p, l.wantsNumbers); err != nil {
				return err
			}
			ix := p.index()
			at, _, err := ix.Search(func(e *index.Entry) bool { return e.Batches <= batches-want })
			if err != nil {
				return l.readError(p, ix, p.base, err)
			}
			from = p.base + max(at.Pos, 0)
			return nil
		})
		switch {
		case errors.Is(err, fs.ErrNotExist) && l.lost(p):
			return l.begin(), nil // removed a moment ago, and all before it
		case err != nil:
			return 0, err
		}
		if want -= batches; want <= 0 {
			return from, nil
		}
	}
	return parts[0].base, nil
}

// addNumbers adds the batches from one offset, where one begins, up to another to
// the table, and returns the latter. It reads their envelopes.
func (l *Log) addNumbers(table *producers.Table, at, end int64) (int64, error) {
	for at < end {
		parts := l.partitions()
		at = max(l.pastDamage(at), parts[0].base)
		i := findPartition(parts, at)
		if at >= end || i < 0 {
			break
		}
		p := parts[i]
		if at >= p.end.Load() {
			return at, errNumbersWrong // a hole that nobody knows of
		}
		limit := min(l.segmentEnd(p, at), end)
		to, err := l.addNumbersOf(p, table, at, limit)
		if err != nil && l.lost(p) {
			continue // removed a moment ago: nobody asks for it any more
		}
		if err != nil {
			return at, err
		}
		at = to
	}
	return max(at, end), nil
}

func (l *Log) addNumbersOf(p *partition, table *producers.Table, at, limit int64) (int64, error) {
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return at, err
	}
	defer p.file.Release()
	w := walk.New(f, l.name)
	defer w.Free()
	ix := p.index()
	for at < limit {
		if err := l.wantsNumbers(); err != nil {
			return at, err
		}
		h, n, err := w.Header(at-p.base, limit-p.base)
		if err != nil {
			return at, &unreadError{p, ix, at, err}
		}
		table.Add(&producers.Batch{PID: h.PID, Seq: h.Seq, Offset: at, Len: n, CRC: h.CRC})
		at += n
	}
	return at, nil
}

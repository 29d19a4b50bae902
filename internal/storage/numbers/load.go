package numbers

import (
	"errors"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// ErrChanged is a table that is made of what is no longer so.
var ErrChanged = errors.New("the log has changed before its end")

// errLost is a table that is not made because of what is set aside, and errUnwanted one
// that nobody will use.
var (
	errLost     = errors.New("some of the newest batches are set aside")
	errUnwanted = errors.New("the store is being closed, the topic was deleted, or numbers are not looked at any more")
)

// wanted returns nil while somebody may use the table that is being made. To read the
// log for it may take long: it is asked between the reads.
func (b *Book) wanted() error {
	if b.Keeper.stopped.Load() || b.Keeper.Window() <= 0 || b.Log.Deleted() {
		return errUnwanted
	}
	return nil
}

// load makes the table. If that fails there is none, and it is tried again when it is
// asked for again.
func (b *Book) load() {
	var err error
	for try := range 10 { // each time something was found damaged, or cut off
		if err = b.tryLoad(try == 0); !errors.Is(err, ErrChanged) {
			break
		}
	}
	if err != nil && !errors.Is(err, errLost) && b.wanted() == nil {
		b.Keeper.Logger.Error("numbered batches are refused: what the log has of them can't be read", "topic", b.Log.Name(), "err", err)
	}
}

func (b *Book) tryLoad(cached bool) error {
	cuts, aside, window := b.cuts.Load(), b.Journal.Damaged(), b.Keeper.Window()
	if b.Keeper.Managed {
		if err := b.lacks(*aside, window); err != nil {
			return err
		}
	}
	var table *producers.Table
	var at int64
	if cached {
		table, at = b.readCache(*aside, window)
	}
	saved := at
	if table == nil {
		var err error
		if at, err = b.Log.Newest(window, b.wanted); err != nil {
			return err
		}
		table = producers.New(window)
	}
	// Most of it is read while others append.
	const last = 1 << 20
	for {
		end := b.Log.Next()
		if end-at <= last {
			break
		}
		var err error
		if at, err = b.add(table, at, end); err != nil {
			return b.Log.Examine(err)
		}
	}
	if err := b.take(table, at, saved, aside, cuts); err != nil {
		return b.Log.Examine(err)
	}
	return nil
}

// lacks returns errLost if batches are set aside that the table would know. Another
// copy has them and puts them back; until then one that is sent again would be stored
// again.
func (b *Book) lacks(aside []layout.Range, window int64) error {
	if len(aside) == 0 {
		return nil
	}
	from, err := b.Log.Newest(window, b.wanted)
	if err != nil {
		return err
	}
	if next := b.Log.Next(); layout.Clear(aside, max(from, b.trimmed.Load()), next) < next {
		return errLost
	}
	return nil
}

// take adds the newest batches to a table, from at on, and makes it the log's, if that
// is still what it was: saved is what the cache was good for, aside what was set
// aside, and cuts how often the log had been cut off.
func (b *Book) take(table *producers.Table, at, saved int64, aside *[]layout.Range, cuts int64) error {
	b.Writer.Lock()
	defer b.Writer.Unlock()
	if _, err := b.add(table, at, b.Log.Next()); err != nil {
		return err
	}
	if b.Journal.Damaged() != aside || b.cuts.Load() != cuts || table.Window() != b.Keeper.Window() {
		return ErrChanged
	}
	table.Trim(b.Log.Begin())
	b.table = table
	b.saved.Store(saved)
	b.bytes.Store(table.Bytes())
	b.used.Store(b.Keeper.Clock.Now().UnixMilli())
	b.looks.Store(table.Window())
	b.made.Store(aside)
	b.Keeper.alarm.Arm() // there may be too many now
	return nil
}

// add adds the batches from one offset up to another to the table, and returns the
// latter.
func (b *Book) add(table *producers.Table, from, to int64) (int64, error) {
	return b.Log.Envelopes(from, to, func(offset, length int64, h *batch.Header) error {
		table.Add(&producers.Batch{PID: h.PID, Seq: h.Seq, Offset: offset, Len: length, CRC: h.CRC})
		return b.wanted()
	})
}

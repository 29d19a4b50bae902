package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/topic"
)

// sameID reports whether two ids, in hexadecimal, are the same.
func sameID(a, b string) bool { return strings.EqualFold(a, b) }

// idOf returns the id of a topic that exists: the error is topic.ErrNotFound if it is sure
// that there is none.
func (k *Keeper) idOf(ctx context.Context, name string) (id string, err error) {
	l, err := k.o.Store.Log([]byte(name))
	if err == nil && l.Deleted() {
		err = topic.ErrNotFound
	}
	_, elsewhere := errors.AsType[*topic.NotLeaderError](err)
	if elsewhere || errors.Is(err, topic.ErrNotFound) { // who leads may have been replaced, and not know it yet
		if err = k.o.Fresh(ctx, []byte(name)); err == nil {
			l, err = k.o.Store.Log([]byte(name))
		}
	}
	if _, elsewhere := errors.AsType[*topic.NotLeaderError](err); elsewhere {
		return "", topic.ErrNotFound // what there is, is known here
	}
	if err != nil {
		return "", err
	}
	return l.HexID(), nil
}

// forget has the table be read anew. Caller holds mu.
func (k *Keeper) forget() {
	version := int64(0)
	if k.table != nil {
		version = k.table.Version()
	}
	k.table, k.of, k.read, k.snaps = positions.NewTable(), nil, 0, snapshots{}
	k.table.Raise(version)
}

// readBytes is how much of the topic is read at a time.
const readBytes = 1 << 20

// catchUp has the table be what the topic says up to its readable end, as far as this
// server has it. Caller holds mu.
func (k *Keeper) catchUp() error {
	log, err := k.o.Store.Log([]byte(topic.Positions))
	if err != nil {
		_, elsewhere := errors.AsType[*topic.NotLeaderError](err)
		if elsewhere || errors.Is(err, topic.ErrNotFound) {
			err = nil // nobody has a position, as far as it is known here
		}
		return err
	}
	if k.of != nil && (k.of != log && k.of.HexID() != log.HexID() || k.read < log.Oldest()) {
		k.forget() // what is missing is in the snapshot at the oldest offset
	}
	if k.of == nil {
		k.read, k.snaps.end = log.Oldest(), log.Oldest()
		k.snaps.begin = k.snaps.end
	}
	k.of = log
	for {
		v, err := log.Read(k.read, 1<<40, readBytes)
		switch {
		case errors.Is(err, topic.ErrEnd):
			return nil
		case err == nil:
			if err := k.take(v); err != nil {
				return err
			}
		case !errors.Is(err, topic.ErrNotFound):
			return err
		case log.Oldest() > k.read && k.behindDamage(log) == 0:
			k.forget()
			return k.catchUp()
		default:
			next := k.behindDamage(log)
			if next == 0 {
				return fmt.Errorf("keeper: topic %s at offset %d: %w", topic.Positions, k.read, err)
			}
			k.log.Error("records of the positions of consumers are damaged: what was saved by them is lost", "topic", topic.Positions, "from", k.read, "to", next)
			k.read = next
		}
	}
}

// behindDamage returns where the range ends that was set aside and has the offset that is
// to be read, or 0.
func (k *Keeper) behindDamage(log topic.Log) (next int64) {
	in, err := log.Info(k.ctx)
	if err != nil {
		return 0
	}
	for _, r := range in.DamagedAt {
		if r[0] <= k.read && k.read < r[1] {
			return r[1]
		}
	}
	return 0
}

// take reads the batches of a View into the table, and closes it.
func (k *Keeper) take(v topic.View) error {
	data, err := contents(v)
	v.Close()
	if err != nil {
		return err
	}
	for len(data) > 0 {
		h, n, err := batch.Parse(data)
		if err != nil {
			return fmt.Errorf("keeper: topic %s at offset %d: %w", topic.Positions, k.read, err)
		}
		var lines [][]byte
		m := batch.Messages{Data: data[n-h.Size : n]}
		for m.Next() {
			lines = append(lines, m.Body())
		}
		begins, ends, err := k.table.Apply(lines, k.clock())
		if err != nil {
			k.log.Error("a record of a position makes no sense to this version, and is left out", "topic", topic.Positions, "offset", k.read, "err", err)
		}
		if begins {
			k.snaps.under = k.read
		}
		k.read += n
		if ends {
			k.snaps.begin, k.snaps.end = k.snaps.under, k.read
		}
		data = data[n:]
	}
	return nil
}

// contents returns the bytes of a View.
func contents(v topic.View) ([]byte, error) {
	data := make([]byte, 0, v.Len())
	for i := range v.Sections() {
		r, pos, n := v.Section(i)
		at := len(data)
		data = data[:at+int(n)]
		if _, err := r.ReadAt(data[at:], pos); err != nil {
			return nil, err
		}
	}
	return data, nil
}

package keeper

import (
	"context"
	"errors"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/topic"
)

// Get returns how a consumer of a topic stands. With fresh it is not older than what any
// server had answered before the call. The error is topic.ErrNotFound if there is no such
// topic, and positions.ErrNotFound if the consumer has no position.
func (k *Keeper) Get(ctx context.Context, name, consumer string, fresh bool) (positions.Status, error) {
	id, err := k.idOf(ctx, name)
	if err != nil {
		return positions.Status{}, err
	}
	key := positions.Key{ID: id, Consumer: consumer}
	for {
		if fresh {
			if err := k.o.Fresh(ctx, []byte(topic.Positions)); err != nil {
				return positions.Status{}, err
			}
		}
		s, err := k.get(key)
		switch {
		case err == nil:
			k.stand(&s, true)
			return s, nil
		case fresh || !errors.Is(err, positions.ErrNotFound):
			return positions.Status{}, err
		}
		fresh = true // another server may have been told of it
	}
}

func (k *Keeper) get(key positions.Key) (positions.Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.catchUp(); err != nil {
		return positions.Status{}, err
	}
	p, ok := k.table.Get(key)
	if !ok {
		return positions.Status{}, positions.ErrNotFound
	}
	return k.status(p), nil
}

// status copies what the table has of a position. Caller holds mu.
func (k *Keeper) status(p *positions.Position) positions.Status {
	s := positions.Status{Position: *p}
	if at, ok := k.owed[p.Key]; ok && at.Before(p.At) {
		s.At = at
	}
	s.Holder, s.HoldLeft = p.Held(k.clock())
	return s
}

// List returns positions by the names of topics and consumers: those behind a topic and
// consumer, of one topic unless it is empty, that shown is true for; at most limit. Those
// of topics that are not known here are left out. counted tells whether messages are to be
// counted, for which files are read.
func (k *Keeper) List(name, afterTopic, afterConsumer string, limit int, counted bool, shown func(topic, consumer string) bool) ([]positions.Status, error) {
	all, err := k.list(name, afterTopic, afterConsumer, limit, shown)
	for i := range all {
		k.stand(&all[i], counted)
	}
	return all, err
}

func (k *Keeper) list(name, afterTopic, afterConsumer string, limit int, shown func(topic, consumer string) bool) (all []positions.Status, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.catchUp(); err != nil {
		return nil, err
	}
	sorted := k.table.All()
	first := 0
	if afterTopic = max(afterTopic, name); afterTopic != "" {
		first = sort.Search(len(sorted), func(i int) bool {
			c := strings.Compare(sorted[i].Topic, afterTopic)
			return c > 0 || c == 0 && sorted[i].Consumer > afterConsumer
		})
	}
	last, id := "", "" // the topic that was looked up last, and its id
	for _, p := range sorted[first:] {
		if name != "" && p.Topic != name || len(all) == limit {
			break
		}
		if p.Topic != last {
			last, id = p.Topic, ""
			if l, err := k.o.Store.Log([]byte(p.Topic)); err == nil {
				id = l.HexID()
			}
		}
		if sameID(id, p.ID) && (shown == nil || shown(p.Topic, p.Consumer)) {
			all = append(all, k.status(p))
		}
	}
	return all, nil
}

// Survey returns how all positions stand, by the names of topics and consumers. It takes
// about as long as budget says: those that it does not come to stand as they did the last
// time, or are left out. Messages are not counted.
func (k *Keeper) Survey(budget time.Duration) ([]positions.Status, error) {
	until := time.Now().Add(budget)
	all, err := k.list("", "", "", math.MaxInt, nil)
	if err != nil {
		return nil, err
	}
	k.surveying.Lock()
	defer k.surveying.Unlock()
	seen := make(map[positions.Key]positions.Status, len(all))
	stood := all[:0]
	for i := range all {
		s := all[i]
		if time.Now().Before(until) {
			k.stand(&s, false)
		} else if last, ok := k.surveyed[s.Key]; ok {
			s = last
		} else {
			continue
		}
		seen[s.Key] = s
		stood = append(stood, s)
	}
	k.surveyed = seen
	return stood, nil
}

// stand looks how a position stands to its topic.
func (k *Keeper) stand(s *positions.Status, counted bool) {
	s.State, s.LagMessages, s.Lag = positions.OK, -1, -1
	now := k.o.Now()
	if s.Stale(k.Rules(), now) {
		s.State = positions.Stale
	}
	l, err := k.o.Store.Log([]byte(s.Topic))
	if err != nil {
		return
	}
	oldest, next := l.Oldest(), l.Readable()
	from := max(s.At.Offset, oldest)
	switch end := (batch.Place{Offset: next}); {
	case s.At.Offset < oldest:
		s.State, s.LostBytes = positions.Gone, oldest-s.At.Offset
	case end.Before(s.At):
		s.State = positions.Ahead
	}
	s.LagBytes = max(next-from, 0)
	if from >= next {
		s.LagMessages, s.Lag = 0, 0
		return
	}
	if marks, err := l.Times(from, next, 1); err == nil && len(marks) > 0 {
		s.Lag = max(now.Sub(time.UnixMilli(marks[0].Millis)), 0)
	}
	if counted {
		s.LagMessages = k.count(l, from, s)
	}
}

// count returns how many messages there are from a position on, or -1.
func (k *Keeper) count(l topic.Log, from int64, s *positions.Status) int64 {
	n, err := l.MessagesFrom(from)
	if err != nil {
		return -1
	}
	if s.State == positions.Gone || s.At.Delta == 0 {
		return n
	}
	done, ok := messagesBefore(l, s.At)
	if !ok {
		return -1
	}
	return n - done
}

// messagesBefore returns how many messages of a batch come before a place in it.
func messagesBefore(l topic.Log, at batch.Place) (n int64, ok bool) {
	v, err := l.Read(at.Offset, 1, 1)
	if err != nil {
		return 0, false
	}
	defer v.Close()
	data, err := contents(v)
	if err != nil {
		return 0, false
	}
	h, total, err := batch.Parse(data)
	if err != nil || h.Codec != "" {
		return 0, false
	}
	m := batch.Messages{Data: data[total-h.Size : total]}
	for m.Next() && m.Delta() < at.Delta {
		n++
	}
	return n, m.Err() == nil
}

package main

import (
	"context"
	"errors"
	"time"

	"github.com/logd-dev/logd"
)

// finder finds places in a topic.
type finder struct {
	client *logd.Client
	topic  string
	page   int64 // how many messages to ask for at once; 0 before it is known
}

// find returns the message at a place, by its batch's offset and its delta
// there, or where the next message to come will be. That a batch and a message
// begin there is certain, unless they are removed meanwhile.
func (f *finder) find(ctx context.Context, p place) (offset, delta int64, err error) {
	switch p.kind {
	case atStart, atEnd:
		info, err := f.client.Info(ctx, f.topic)
		if p.kind == atStart {
			return info.Oldest, 0, err
		}
		return info.Next, 0, err
	case fromEnd:
		return f.last(ctx, p.n)
	case atTime:
		offset, err := f.client.Seek(ctx, f.topic, p.time)
		return offset, 0, err
	}
	return p.offset, p.delta, f.check(ctx, p.offset, p.delta)
}

// check returns nil if a message begins at the offset and the delta, or will
// begin there, being the end. Otherwise the error is a *logd.GoneError or a
// *logd.OffsetError, as a Scanner's would be.
func (f *finder) check(ctx context.Context, offset, delta int64) error {
	result, err := f.client.Read(ctx, f.topic, offset, logd.ReadOptions{Messages: 1})
	found := err == nil && len(result.Batches) == 0 && delta == 0
	if err == nil && len(result.Batches) > 0 {
		for m := range result.Batches[0].All() {
			found = found || m.Delta == delta
		}
	}
	result.Release()
	if found || err != nil && !errors.Is(err, logd.ErrNotFound) {
		return err
	}
	info, infoErr := f.client.Info(ctx, f.topic)
	if infoErr != nil {
		return infoErr
	}
	wrong := &logd.OffsetError{Offset: offset, Oldest: info.Oldest, Next: info.Next}
	switch {
	case offset < info.Oldest:
		return &logd.GoneError{Offset: offset, Oldest: info.Oldest}
	case err == nil:
		wrong.Delta = delta
	}
	for _, r := range info.DamagedAt {
		if r.From <= offset && offset < r.To {
			return &logd.GoneError{Offset: offset, Oldest: r.To, Damaged: true}
		}
	}
	return wrong
}

// nextMessage returns the first message behind a place where none begins.
func (f *finder) nextMessage(ctx context.Context, offset, delta int64) (place, bool) {
	if delta == 0 {
		return f.nextBatch(ctx, offset)
	}
	result, err := f.client.Read(ctx, f.topic, offset, logd.ReadOptions{Messages: 1})
	if err != nil || len(result.Batches) == 0 {
		return place{}, false
	}
	defer result.Release()
	for m := range result.Batches[0].All() {
		if m.Delta > delta {
			return place{kind: atOffset, offset: offset, delta: m.Delta}, true
		}
	}
	return place{kind: atOffset, offset: result.Next}, true
}

// nextBatch returns the first batch behind an offset at which none begins, or
// the end.
func (f *finder) nextBatch(ctx context.Context, offset int64) (place, bool) {
	info, err := f.client.Info(ctx, f.topic)
	if err != nil || offset < info.Oldest || offset >= info.Next {
		return place{}, false
	}
	conf, err := f.client.Config(ctx)
	if err != nil {
		return place{}, false
	}
	// No further than the longest batch, lest there be many.
	to := min(info.Next, offset+max(conf.MaxBatchSize, logd.DefaultMaxBatchSize)+1)
	marks, err := f.client.Times(ctx, f.topic, offset, to)
	switch {
	case err == nil && len(marks) > 0:
		return place{kind: atOffset, offset: marks[0].Offset}, true
	case err == nil && to == info.Next:
		return place{kind: atOffset, offset: info.Next}, true
	}
	return place{}, false
}

// last finds the last n messages that the topic has at this moment: where the
// first of them is.
//
// The protocol reads forward alone, so a place before the wanted one has to be
// found from which to count. SEEK gives the offsets of batches by their time:
// one is searched for that is far enough from the end, judged by the mean
// length of a message, and if it turns out not to be far enough, one that is
// further.
func (f *finder) last(ctx context.Context, n int64) (offset, delta int64, err error) {
	if f.page == 0 {
		if err := f.fitPage(ctx); err != nil {
			return 0, 0, err
		}
	}
	const tries = 5 // each fails only if the batches it counts are removed
	for range tries {
		var skip int64
		offset, skip, err = f.countBack(ctx, n)
		if err == nil && skip > 0 {
			delta, err = f.deltaOf(ctx, offset, skip)
		}
		if !errors.Is(err, logd.ErrNotFound) {
			break
		}
	}
	return offset, delta, err
}

// deltaOf returns the delta of the message that so many others come before in
// the batch at the offset.
func (f *finder) deltaOf(ctx context.Context, offset, skip int64) (delta int64, err error) {
	result, err := f.client.Read(ctx, f.topic, offset, logd.ReadOptions{Messages: 1})
	if err != nil {
		return 0, err
	}
	defer result.Release()
	for _, b := range result.Batches {
		for m := range b.All() {
			if skip == 0 {
				return m.Delta, nil
			}
			skip--
		}
	}
	return 0, logd.ErrNotFound
}

// fitPage asks for how many messages the server may be asked at once.
func (f *finder) fitPage(ctx context.Context) error {
	conf, err := f.client.Config(ctx)
	if err != nil {
		return err
	}
	f.page = logd.DefaultReadMessages
	if conf.MaxMessages > 0 {
		f.page = min(f.page, conf.MaxMessages)
	}
	return nil
}

// countBack finds the batch that the last n messages begin in, and how many of
// its messages come before them.
func (f *finder) countBack(ctx context.Context, n int64) (offset, skip int64, err error) {
	info, err := f.client.Info(ctx, f.topic)
	if err != nil || n == 0 {
		return info.Next, 0, err
	}
	if info.Messages <= n {
		return info.Oldest, 0, nil
	}
	length := float64(info.Next - info.Oldest)
	for span := 1.2*length/float64(info.Messages)*float64(n) + 4096; ; span *= 4 {
		from := info.Oldest
		if span < length {
			if from, err = f.offsetBefore(ctx, &info, info.Next-int64(span)); err != nil {
				return 0, 0, err
			}
		}
		offset, skip, enough, err := f.countForward(ctx, &info, from, n)
		if err != nil || enough || from == info.Oldest {
			return offset, skip, err
		}
	}
}

// offsetBefore returns the offset of a batch that is at most target, and near
// to it as far as the times of the batches tell.
func (f *finder) offsetBefore(ctx context.Context, info *logd.TopicInfo, target int64) (int64, error) {
	best := info.Oldest
	near := (info.Next - target) / 4
	lo, hi := info.OldestTime.UnixMilli(), info.NewestTime.UnixMilli()+1
	for hi-lo > 1 && target-best > near {
		mid := lo + (hi-lo)/2
		offset, err := f.client.Seek(ctx, f.topic, time.UnixMilli(mid))
		if err != nil {
			return 0, err
		}
		if offset <= target {
			lo, best = mid, max(best, offset)
		} else {
			hi = mid
		}
	}
	return best, nil
}

// countForward reads from an offset to the end, past damage, and finds where
// the last n messages begin. If there are not enough it returns from.
func (f *finder) countForward(ctx context.Context, info *logd.TopicInfo, from, n int64) (offset, skip int64, enough bool, err error) {
	type batch struct{ offset, messages int64 }
	var batches []batch // the last ones: without the first they have less than n messages
	var total int64     // how many they have
	to, damaged := info.Next, info.DamagedAt
	for offset := from; offset < to; {
		for len(damaged) > 0 && damaged[0].To <= offset {
			damaged = damaged[1:]
		}
		if len(damaged) > 0 && damaged[0].From <= offset {
			offset = damaged[0].To
			continue
		}
		result, err := f.client.Read(ctx, f.topic, offset, logd.ReadOptions{Messages: f.page})
		if err != nil {
			return 0, 0, false, err
		}
		for i := range result.Batches {
			b := &result.Batches[i]
			if b.Offset >= to {
				break
			}
			batches = append(batches, batch{b.Offset, b.Messages})
			total += b.Messages
			for total-batches[0].messages >= n {
				total -= batches[0].messages
				batches = batches[1:]
			}
		}
		if result.Next == offset {
			break // it ends before where it ended: nothing more can be counted
		}
		offset = result.Next
		result.Release()
	}
	if total < n {
		return from, 0, false, nil
	}
	return batches[0].offset, total - n, true, nil
}

// endingBefore adds up the partitions that end at or before the offset: what
// Trim would remove.
func (f *finder) endingBefore(ctx context.Context, offset int64) (*jsonRemoved, error) {
	plan, err := f.client.Retention(ctx, f.topic, logd.RetentionOptions{})
	if err != nil {
		return nil, err
	}
	conf, err := f.client.Config(ctx)
	if err != nil {
		return nil, err
	}
	gone := &jsonRemoved{Topic: f.topic}
	var oldest int64
	for i, p := range plan {
		if i == 0 {
			oldest = p.Base
		}
		if p.End > offset || p.End == p.Base {
			continue
		}
		oldest = p.End
		gone.Partitions++
		gone.Messages += max(p.Messages, 0)
		gone.Bytes += p.End - p.Base
		if conf.DeleteHook {
			gone.Hooks = append(gone.Hooks, p.Base)
		}
	}
	gone.Oldest = &oldest
	return gone, nil
}

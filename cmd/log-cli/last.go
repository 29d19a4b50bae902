package main

import (
	"context"
	"errors"
	"time"

	"github.com/logd-dev/logd"
)

// last finds the last n messages that the topic has at this moment: they begin
// skip messages after the first of the batch at the offset.
//
// The protocol reads forward alone, so a place before the wanted one has to be
// found from which to count. SEEK gives the offsets of batches by their time:
// one is searched for that is far enough from the end, judged by the mean
// length of a message, and if it turns out not to be far enough, one that is
// further.
func (r *reader) last(ctx context.Context, n int64) (offset, skip int64, err error) {
	if r.page == 0 {
		if err := r.fitPage(ctx); err != nil {
			return 0, 0, err
		}
	}
	const tries = 5 // each fails only if the batches it counts are removed
	for range tries {
		offset, skip, err = r.countBack(ctx, n)
		if !errors.Is(err, logd.ErrNotFound) {
			break
		}
	}
	return offset, skip, err
}

// fitPage asks for how many messages the server may be asked at once.
func (r *reader) fitPage(ctx context.Context) error {
	conf, err := r.client.Config(ctx)
	if err != nil {
		return err
	}
	r.page = logd.DefaultReadMessages
	if conf.MaxMessages > 0 {
		r.page = min(r.page, conf.MaxMessages)
	}
	return nil
}

func (r *reader) countBack(ctx context.Context, n int64) (offset, skip int64, err error) {
	info, err := r.client.Info(ctx, r.topic)
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
			if from, err = r.offsetBefore(ctx, &info, info.Next-int64(span)); err != nil {
				return 0, 0, err
			}
		}
		offset, skip, enough, err := r.countForward(ctx, &info, from, n)
		if err != nil || enough || from == info.Oldest {
			return offset, skip, err
		}
	}
}

// offsetBefore returns the offset of a batch that is at most target, and near
// to it as far as the times of the batches tell.
func (r *reader) offsetBefore(ctx context.Context, info *logd.TopicInfo, target int64) (int64, error) {
	best := info.Oldest
	near := (info.Next - target) / 4
	lo, hi := info.OldestTime.UnixMilli(), info.NewestTime.UnixMilli()+1
	for hi-lo > 1 && target-best > near {
		mid := lo + (hi-lo)/2
		offset, err := r.client.Seek(ctx, r.topic, time.UnixMilli(mid))
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
func (r *reader) countForward(ctx context.Context, info *logd.TopicInfo, from, n int64) (offset, skip int64, enough bool, err error) {
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
		result, err := r.client.Read(ctx, r.topic, offset, logd.ReadOptions{Messages: r.page})
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

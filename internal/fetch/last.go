package fetch

import (
	"fmt"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/countback"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// last finds the last n messages that the topic has at this moment, and returns
// the first of them, or where the next message will be if there are none. SEEK gives the
// offsets of batches from which to count, by their times.
func (f *Fetcher) last(n int64) (place, error) {
	var before *protocol.TopicInfo
	var failed error
	for {
		info, err := f.src.Info(f.ctx, true)
		if err != nil {
			return place{}, err
		}
		if failed != nil && info.Oldest == before.Oldest && slices.Equal(info.DamagedAt, before.DamagedAt) {
			return place{}, failed
		}
		at, err := f.countBack(info, n)
		if !isAny(err, protocol.ErrNotFound) {
			return at, err
		}
		// What was to be counted has been removed, or turned out to be damaged and
		// is set aside.
		before, failed = info, err
	}
}

// countBack is last, for what the topic was like a moment ago.
func (f *Fetcher) countBack(info *protocol.TopicInfo, n int64) (place, error) {
	log := countback.Log{
		Oldest: info.Oldest, Next: info.Next, Messages: info.Messages, Damaged: len(info.DamagedAt) > 0,
		Near: func(target int64) (int64, error) { return f.offsetBefore(info, target) },
		Each: func(from int64, yield func(offset, messages int64) bool) error {
			return f.eachBatch(info, from, func(at link.Extent, _ []byte) bool { return yield(at.Offset, at.Messages) })
		},
	}
	from, skip, err := log.Find(n)
	if err != nil || skip == 0 {
		return place{offset: from}, err
	}
	return f.pass(info, from, skip)
}

// offsetBefore returns the offset of a batch that is at most target, and near
// to it as far as the times of the batches tell.
func (f *Fetcher) offsetBefore(info *protocol.TopicInfo, target int64) (int64, error) {
	best := info.Oldest
	near := (info.Next - target) / 4
	lo, hi := info.OldestTime.UnixMilli(), info.NewestTime.UnixMilli()+1
	for hi-lo > 1 && target-best > near {
		mid := lo + (hi-lo)/2
		offset, err := f.src.Seek(f.ctx, time.UnixMilli(mid))
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

// pass returns the message that has so many others before it from an offset on.
func (f *Fetcher) pass(info *protocol.TopicInfo, from, skip int64) (place, error) {
	found := place{offset: info.Next}
	err := f.eachBatch(info, from, func(at link.Extent, data []byte) bool {
		if skip >= at.Messages {
			skip -= at.Messages
			return true
		}
		messages := batch.Messages{Data: data}
		for messages.Next() && skip > 0 {
			skip--
		}
		found = place{at.Offset, messages.Delta()}
		return false
	})
	return found, err
}

// eachBatch calls yield for the batches from an offset on up to what was the end
// of the log, without those that are damaged, until yield returns false.
func (f *Fetcher) eachBatch(info *protocol.TopicInfo, offset int64, yield func(at link.Extent, data []byte) bool) error {
	damaged := info.DamagedAt
	for offset < info.Next {
		for len(damaged) > 0 && damaged[0][1] <= offset {
			damaged = damaged[1:]
		}
		if len(damaged) > 0 && damaged[0][0] <= offset {
			offset = damaged[0][1]
			continue
		}
		in, err := f.src.Read(f.ctx, offset, f.page, 0, false)
		if err != nil {
			return err
		}
		for i, at := range in.Extents {
			if at.Offset >= info.Next || !yield(at, in.Data(i)) {
				in.Release()
				return nil
			}
		}
		before := offset
		offset = in.Next
		in.Release()
		if offset == before {
			// The log ends before where it ended: it is another one.
			return fmt.Errorf("%w: no batch at offset %d", protocol.ErrNotFound, offset)
		}
	}
	return nil
}

package fetch

import (
	"fmt"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// last finds the last n messages that the topic has at this moment, and returns
// the first of them, or where the next message will be if there are none.
//
// The protocol reads forward alone, so a place before the wanted message has to
// be found from which to count. SEEK gives the offsets of batches by their times:
// a batch is searched for that is far enough from the end, judged by the mean
// length of a message. If it turns out not to be far enough, one is searched for
// that is four times as far.
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
	if n == 0 {
		return place{offset: info.Next}, nil
	}
	if info.Messages <= n && len(info.DamagedAt) == 0 { // else it may count some that are
		return place{offset: info.Oldest}, nil
	}
	length := float64(info.Next - info.Oldest)
	for span := 1.2*length/float64(info.Messages)*float64(n) + 4096; ; span *= 4 {
		from := info.Oldest
		if span < length {
			var err error
			if from, err = f.offsetBefore(info, info.Next-int64(span)); err != nil {
				return place{}, err
			}
		}
		tail, err := f.countFrom(info, from, n)
		switch {
		case err != nil:
			return place{}, err
		case tail.messages >= n:
			return f.pass(info, tail.runs[0].offset, tail.messages-n)
		case from == info.Oldest:
			return place{offset: from}, nil
		}
	}
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

// tail is the end of a log, counted: at least the last n messages, as runs of
// batches that follow one another.
type tail struct {
	n        int64
	runs     []run
	messages int64 // of all runs
}

// run is so many messages from an offset on.
type run struct{ offset, messages int64 }

// maxRuns bounds the memory of a tail.
const maxRuns = 1 << 10

// add adds a batch, and drops runs at the beginning that are not needed for n
// messages.
func (t *tail) add(offset, messages int64) {
	if len(t.runs) == maxRuns {
		for i := 0; i < maxRuns; i += 2 {
			t.runs[i/2] = run{t.runs[i].offset, t.runs[i].messages + t.runs[i+1].messages}
		}
		t.runs = t.runs[:maxRuns/2]
	}
	t.runs = append(t.runs, run{offset, messages})
	t.messages += messages
	drop := 0
	for t.messages-t.runs[drop].messages >= t.n {
		t.messages -= t.runs[drop].messages
		drop++
	}
	t.runs = slices.Delete(t.runs, 0, drop)
}

// countFrom counts the messages from an offset on to the end of the log.
func (f *Fetcher) countFrom(info *protocol.TopicInfo, from, n int64) (tail, error) {
	t := tail{n: n}
	err := f.eachBatch(info, from, func(at link.Extent, _ []byte) bool {
		t.add(at.Offset, at.Messages)
		return true
	})
	return t, err
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

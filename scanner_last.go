package logd

import (
	"errors"
	"slices"
	"time"

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
func (f *fetcher) last(n int64) (ID, error) {
	var before TopicInfo
	var failed error
	for {
		info, err := f.client.Info(f.ctx, f.s.topic)
		if err != nil {
			return ID{}, err
		}
		if failed != nil && info.Oldest == before.Oldest && slices.Equal(info.DamagedAt, before.DamagedAt) {
			return ID{}, failed
		}
		at, err := f.countBack(&info, n)
		if !errors.Is(err, ErrNotFound) {
			return at, err
		}
		// What was to be counted has been removed, or turned out to be damaged and
		// is set aside.
		before, failed = info, err
	}
}

// countBack is last, for what the topic was like a moment ago.
func (f *fetcher) countBack(info *TopicInfo, n int64) (ID, error) {
	if n == 0 {
		return ID{Offset: info.Next}, nil
	}
	if info.Messages <= n && len(info.DamagedAt) == 0 { // else it may count some that are
		return ID{Offset: info.Oldest}, nil
	}
	length := float64(info.Next - info.Oldest)
	for span := 1.2*length/float64(info.Messages)*float64(n) + 4096; ; span *= 4 {
		from := info.Oldest
		if span < length {
			var err error
			if from, err = f.offsetBefore(info, info.Next-int64(span)); err != nil {
				return ID{}, err
			}
		}
		tail, err := f.countFrom(info, from, n)
		switch {
		case err != nil:
			return ID{}, err
		case tail.messages >= n:
			return f.pass(info, tail.runs[0].offset, tail.messages-n)
		case from == info.Oldest:
			return ID{Offset: from}, nil
		}
	}
}

// offsetBefore returns the offset of a batch that is at most target, and near
// to it as far as the times of the batches tell.
func (f *fetcher) offsetBefore(info *TopicInfo, target int64) (int64, error) {
	best := info.Oldest
	near := (info.Next - target) / 4
	lo, hi := info.OldestTime.UnixMilli(), info.NewestTime.UnixMilli()+1
	for hi-lo > 1 && target-best > near {
		mid := lo + (hi-lo)/2
		offset, err := f.client.Seek(f.ctx, f.s.topic, time.UnixMilli(mid))
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
func (f *fetcher) countFrom(info *TopicInfo, from, n int64) (tail, error) {
	t := tail{n: n}
	err := f.eachBatch(info, from, func(b *StoredBatch) bool {
		t.add(b.Offset, b.Messages)
		return true
	})
	return t, err
}

// pass returns the message that has so many others before it from an offset on.
func (f *fetcher) pass(info *TopicInfo, from, skip int64) (ID, error) {
	at := ID{Offset: info.Next}
	err := f.eachBatch(info, from, func(b *StoredBatch) bool {
		if skip >= b.Messages {
			skip -= b.Messages
			return true
		}
		for m := range b.All() {
			if skip == 0 {
				at = m.ID()
				break
			}
			skip--
		}
		return false
	})
	return at, err
}

// eachBatch calls yield for the batches from an offset on up to what was the end
// of the log, without those that are damaged, until yield returns false.
func (f *fetcher) eachBatch(info *TopicInfo, offset int64, yield func(b *StoredBatch) bool) error {
	damaged := info.DamagedAt
	for offset < info.Next {
		for len(damaged) > 0 && damaged[0].To <= offset {
			damaged = damaged[1:]
		}
		if len(damaged) > 0 && damaged[0].From <= offset {
			offset = damaged[0].To
			continue
		}
		opts := ReadOptions{Messages: f.page, MaxBytes: f.s.cfg.ReadBytes}
		result, err := f.client.read(f.ctx, "read", f.s.topic, offset, protocol.Read, opts, false)
		if err != nil {
			return err
		}
		for i := range result.Batches {
			if b := &result.Batches[i]; b.Offset >= info.Next || !yield(b) {
				result.Release()
				return nil
			}
		}
		if result.Next == offset {
			// The log ends before where it ended: it is another one.
			result.Release()
			return &OpError{Op: "scan", Topic: f.s.topic, Err: ErrNoBatch}
		}
		offset = result.Next
		result.Release()
	}
	return nil
}

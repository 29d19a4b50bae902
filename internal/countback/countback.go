// Package countback finds a message by its number from the end of a log that is read
// forward alone: so a batch before it has to be found from which to count.
//
// It asks for a batch that is far enough from the end, judged by the mean length of a
// message, and counts from there to the end. If that was not far enough, it asks for one
// that is four times as far. It keeps no message, and a few KiB of counts.
package countback

import "slices"

// Log is a log as it was a moment ago.
type Log struct {
	Oldest, Next int64 // offsets
	Messages     int64 // as many as it is said to have
	Damaged      bool  // there are ranges that can't be read, whose messages may be counted

	// Near returns the offset of a batch at target, or near to it.
	Near func(target int64) (int64, error)
	// Each calls yield for the batches from an offset on up to Next, without those that
	// can't be read, until yield returns false.
	Each func(from int64, yield func(offset, messages int64) bool) error
}

// Find returns where the last n messages begin: so many behind the first message of the
// batch at from. If there are not so many, they begin at Oldest, and the last 0 at Next. Errors are
// those of Near and Each.
func (l *Log) Find(n int64) (from, skip int64, err error) {
	if n == 0 {
		return l.Next, 0, nil
	}
	if l.Messages <= n && !l.Damaged {
		return l.Oldest, 0, nil
	}
	length := float64(l.Next - l.Oldest)
	for span := 1.2*length/float64(l.Messages)*float64(n) + 4096; ; span *= 4 {
		from := l.Oldest
		if span < length {
			if from, err = l.Near(l.Next - int64(span)); err != nil {
				return 0, 0, err
			}
		}
		t := tail{n: n}
		err := l.Each(from, func(offset, messages int64) bool {
			t.add(offset, messages)
			return true
		})
		switch {
		case err != nil:
			return 0, 0, err
		case t.messages >= n:
			return t.runs[0].offset, t.messages - n, nil
		case from == l.Oldest:
			return from, 0, nil
		}
	}
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

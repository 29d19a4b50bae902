package copies

import (
	"errors"
	"math"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
)

// FetchBytes is how much is given at once, but for a larger batch.
const FetchBytes = 4 << 20

// sumMost is how many bytes are summed at once, so that the answer does not take long.
const sumMost = 64 << 20

// ErrNotHere is bytes that a member does not give: they are not there, not readable
// yet, or damaged.
var ErrNotHere = errors.New("cluster: the bytes are not here")

// given returns the files from which bytes of a topic may be given from an offset on. The
// error is a *peer.GoneError of what the log says was trimmed, never of where files begin,
// and else ErrNotHere.
func (s *Set) given(id entry.ID, from int64) (*storage.Log, error) {
	l := s.store.ByID(id)
	if l == nil {
		return nil, ErrNotHere
	}
	if oldest := s.Oldest(id); oldest > from {
		return nil, &peer.GoneError{Oldest: oldest}
	}
	return l, nil
}

// Serve returns bytes of a topic for another member, below the readable end, up to so
// many, checked; the caller closes the view. The error is a *peer.GoneError of what the
// log says was trimmed, never of where files begin, and else ErrNotHere.
func (s *Set) Serve(id entry.ID, from, to int64) (topic.View, []peer.Part, error) {
	l, err := s.given(id, from)
	if err != nil {
		return nil, nil, err
	}
	to = min(to, l.Readable())
	if from >= to {
		return nil, nil, ErrNotHere
	}
	v, err := l.Verify(from, math.MaxInt64, min(to-from, FetchBytes))
	if err != nil {
		return nil, nil, ErrNotHere
	}
	var rolls []int64 // where partitions begin
	at := from
	for i := range v.Sections() {
		_, pos, n := v.Section(i)
		if pos == 0 {
			rolls = append(rolls, at)
		}
		at += n
	}
	times, err := l.Times(from, at, math.MaxInt)
	if err != nil {
		v.Close()
		return nil, nil, ErrNotHere
	}
	return v, partsOf(from, rolls, times), nil
}

// partsOf returns the parts of bytes that begin at an offset: one for each time, and one
// where a partition begins.
func partsOf(from int64, rolls []int64, times []storage.TimeMark) (parts []peer.Part) {
	millis := int64(0)
	if len(times) == 0 || times[0].Offset > from {
		times = append([]storage.TimeMark{{Offset: from}}, times...)
	}
	for len(times) > 0 || len(rolls) > 0 {
		at := int64(math.MaxInt64)
		if len(times) > 0 {
			at = times[0].Offset
		}
		roll := len(rolls) > 0 && rolls[0] <= at
		if roll {
			at = rolls[0]
			rolls = rolls[1:]
		}
		if len(times) > 0 && times[0].Offset <= at {
			millis = times[0].Millis
			times = times[1:]
		}
		parts = append(parts, peer.Part{Offset: at, Time: millis, Roll: roll})
	}
	return parts
}

// Sums returns the CRC-32C of each MiB of a topic, below the readable end, from an
// offset on and up to another, or of fewer: those of whole MiBs, and of what remains
// at the end of the range. The errors are those of Serve.
func (s *Set) Sums(id entry.ID, from, to int64) (sums []uint32, err error) {
	l, err := s.given(id, from)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, peer.SumBytes)
	for most := from + sumMost; from < min(to, most); from += peer.SumBytes {
		end := min(from+peer.SumBytes, to)
		if end > l.Readable() {
			break
		}
		v, err := l.Stored(from, end)
		if err != nil {
			break
		}
		if b, err = ReadViews(b[:0], []topic.View{v}); err != nil {
			break
		}
		sums = append(sums, Checksum(b))
	}
	if len(sums) == 0 {
		return nil, ErrNotHere
	}
	return sums, nil
}

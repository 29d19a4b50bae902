package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
)

// modelBatch is a batch that was handed to a log.
type modelBatch struct {
	offset   int64
	data     []byte
	messages int64
	millis   int64 // when it was appended
	acked    bool  // Commit returned nil
}

func (b *modelBatch) end() int64 { return b.offset + int64(len(b.data)) }

// model is a slow and simple log: what a topic was given, and what it has
// promised of that.
type model struct {
	topic   string
	batches []modelBatch // in order; those that a power cut took are gone, those that retention took are not
	next    int64

	promised int64 // all batches that end at or before it must survive a power cut
	oldest   int64 // batches before it may be gone
	gone     int64 // batches before it must be gone
	cutting  int64 // a truncation to this offset is under way, or -1
	deleting bool  // a deletion is under way: all may be gone
	cutAt    int64 // where the last truncation was: there may be a hole before it
	lost     int64 // batches before gone that a power cut took, and that were never removed

	// exact tells that no power cut has blurred the times of appends.
	exact bool
}

func newModel(topic string) *model { return &model{topic: topic, cutting: -1, exact: true} }

// expect adds what an append that is about to begin may leave, and returns the
// number of batches that there were before.
func (m *model) expect(r run, now time.Time) int {
	n := len(m.batches)
	offset, data := m.next, r.data
	millis := now.UnixMilli()
	for _, x := range r.extents {
		m.batches = append(m.batches, modelBatch{offset: offset, data: data[:x.Len], messages: int64(x.Messages), millis: millis})
		offset, data = offset+x.Len, data[x.Len:]
	}
	return n
}

// appended notes that batches from the n-th on were appended.
func (m *model) appended() {
	if n := len(m.batches); n > 0 {
		m.next = max(m.next, m.batches[n-1].end())
	}
}

// promise notes that all before offset is durable.
func (m *model) promise(offset int64) { m.promised = max(m.promised, offset) }

// acknowledged notes that Commit returned nil for the batches from the n-th on
// in a log with the given FlushBatches.
func (m *model) acknowledged(n, flushBatches int) {
	for i := n; i < len(m.batches); i++ {
		m.batches[i].acked = true
	}
	if flushBatches < 1 {
		return
	}
	unsynced := flushBatches - 1
	for _, b := range slices.Backward(m.batches) {
		if !b.acked {
			continue
		}
		if unsynced == 0 {
			m.promise(b.end())
			return
		}
		unsynced--
	}
}

// cut notes that a truncation to offset is done.
func (m *model) cut(offset int64) {
	m.batches = slices.DeleteFunc(m.batches, func(b modelBatch) bool { return b.offset >= offset })
	m.next, m.promised, m.cutting, m.cutAt = offset, min(m.promised, offset), -1, offset
}

// survived notes that after a power cut only the batches found were left of
// those that are not gone, and that the log goes on at next. The log says that
// before of them were removed; the others before oldest are lost.
func (m *model) survived(found []modelBatch, oldest, next, before int64) {
	m.lost = m.before(oldest) - before
	kept := slices.DeleteFunc(m.batches, func(b modelBatch) bool { return b.offset >= oldest })
	m.batches = append(kept, found...)
	m.next, m.promised, m.oldest, m.gone, m.cutting, m.exact = next, next, oldest, oldest, -1, false
}

// before returns how many batches were written before offset.
func (m *model) before(offset int64) int64 {
	var n int64
	for i := range m.batches {
		if m.batches[i].offset < offset {
			n++
		}
	}
	return n
}

// verify checks a log against the model: whatever was promised is there,
// whatever is there was written so, and all answers agree with each other. It
// returns the batches found. complete tells that nothing may be missing at
// all.
func (m *model) verify(l *Log, rng *rand.Rand, complete bool) ([]modelBatch, error) {
	promised := m.promised
	if m.cutting >= 0 {
		promised = min(promised, m.cutting)
	}
	oldest, readable := l.Begin(), l.Readable()
	if oldest < m.gone {
		return nil, fmt.Errorf("oldest is %d, but all before %d was removed for good", oldest, m.gone)
	}
	if l.Next() < promised {
		return nil, fmt.Errorf("next is %d, before the promised %d", l.Next(), promised)
	}
	if complete {
		promised = readable
	}
	found, err := m.walk(l, oldest, readable)
	if err != nil {
		return nil, err
	}
	for _, b := range m.batches {
		if b.offset < max(oldest, m.oldest) || b.end() > promised {
			continue
		}
		if !slices.ContainsFunc(found, func(f modelBatch) bool { return f.offset == b.offset }) {
			return nil, fmt.Errorf("batch at %d of %d bytes is lost; promised %d, oldest %d, next %d, found %v",
				b.offset, len(b.data), promised, oldest, readable, offsetsOf(found))
		}
	}
	if oldest > max(m.oldest, m.gone) && len(found) > 0 && promised > m.oldest && !complete {
		return nil, fmt.Errorf("oldest is %d, but nothing from %d on was given up", oldest, m.oldest)
	}
	if err := m.verifyReads(l, rng, found); err != nil {
		return nil, err
	}
	return found, m.verifyNumbers(l, rng, found)
}

// walk reads every batch of the log, one by one.
func (m *model) walk(l *Log, oldest, readable int64) (found []modelBatch, err error) {
	end := oldest // of the last batch
	for offset := oldest; offset < readable; {
		v, err := l.Read(offset, 1, 0)
		if errors.Is(err, ErrNotFound) {
			ranges := *l.Damaged()
			i := slices.IndexFunc(ranges, func(r layout.Range) bool { return r.From <= offset && offset < r.To })
			if i < 0 {
				return nil, fmt.Errorf("read at %d, which is not damaged: %w (damage %v)", offset, err, ranges)
			}
			offset = ranges[i].To
			continue
		}
		if err != nil {
			return nil, err
		}
		if v.Batches() != 1 || v.Offset() != offset {
			return nil, fmt.Errorf("read of one message at %d: %d batches at %d", offset, v.Batches(), v.Offset())
		}
		data, err := readView(v)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(m.batches, func(b modelBatch) bool { return b.offset == offset && bytes.Equal(b.data, data) })
		if i < 0 {
			return nil, fmt.Errorf("batch at %d of %d bytes was never written there: %.60q", offset, len(data), data)
		}
		found = append(found, m.batches[i])
		offset += int64(len(data))
		end = offset
	}
	if end != readable && readable != m.cutting && readable != m.cutAt {
		return nil, fmt.Errorf("log ends at %d, but nothing is served after %d (damage %v)", readable, end, *l.Damaged())
	}
	return found, nil
}

// verifyReads compares reads of several messages with what a walk finds.
func (m *model) verifyReads(l *Log, rng *rand.Rand, found []modelBatch) error {
	if _, err := l.Read(l.Readable(), 1, 0); !errors.Is(err, ErrEnd) {
		return fmt.Errorf("read at the end: %v", err)
	}
	if _, err := l.Read(l.Readable()+1, 1, 0); !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read beyond the end: %v", err)
	}
	for range min(len(found), 4) {
		i := rng.IntN(len(found))
		messages, maxBytes := 1+rng.Int64N(20), int64(0)
		if rng.IntN(2) == 0 {
			maxBytes = 1 + rng.Int64N(3000)
		}
		var want []byte
		var count, batches int64
		for j := i; j < len(found) && count < messages; j++ {
			b := &found[j]
			if j > i && (b.offset != found[j-1].end() || (maxBytes > 0 && int64(len(want)+len(b.data)) > maxBytes)) {
				break
			}
			want = append(want, b.data...)
			count += b.messages
			batches++
		}
		v, err := l.Read(found[i].offset, messages, maxBytes)
		if err != nil {
			return err
		}
		gotBatches := v.Batches()
		got, err := readView(v)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) || gotBatches != batches {
			return fmt.Errorf("read of %d messages in %d bytes at %d: %d bytes in %d batches, want %d in %d",
				messages, maxBytes, found[i].offset, len(got), gotBatches, len(want), batches)
		}
		if _, err := l.Read(found[i].offset+1+rng.Int64N(int64(len(found[i].data))-1), 1, 0); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("read inside the batch at %d: %v", found[i].offset, err)
		}
	}
	return nil
}

// verifyNumbers compares Info, Ordinal, OffsetOf and Seek with what a walk
// finds.
func (m *model) verifyNumbers(l *Log, rng *rand.Rand, found []modelBatch) error {
	in, err := l.Info(context.Background())
	if err != nil {
		return err
	}
	var messages, size int64
	for _, b := range found {
		messages += b.messages
		size += int64(len(b.data))
	}
	begin, oldest := l.Begin(), l.Readable()
	if len(found) > 0 {
		oldest = found[0].offset
	}
	if in.Batches != int64(len(found)) || in.Messages != messages || in.Bytes != size ||
		in.Oldest != oldest || in.Next != l.Readable() || in.Damaged != in.Next-begin-size {
		return fmt.Errorf("info is %+v, want %d batches, %d messages, %d bytes from %d to %d, with files from %d on",
			in, len(found), messages, size, oldest, l.Readable(), begin)
	}
	// Batches that were removed. Of those beyond what is known to be removed, a
	// power cut may have taken some; the log can't count them.
	before := m.before(begin) - m.lost
	if begin > m.gone && len(found) > 0 {
		first, err := l.Ordinal(found[0].offset)
		if err != nil || first > before || first < m.before(m.gone)-m.lost {
			return fmt.Errorf("ordinal of the first batch, at %d, is %d (%v), want %d to %d",
				found[0].offset, first, err, m.before(m.gone)-m.lost, before)
		}
		before = first
	}
	for range min(len(found), 4) {
		i := rng.IntN(len(found))
		b := &found[i]
		n, err := l.Ordinal(b.offset)
		if err != nil || n != before+int64(i) {
			return fmt.Errorf("ordinal of the batch at %d is %d (%v), want %d", b.offset, n, err, before+int64(i))
		}
		if offset, err := l.OffsetOf(n); err != nil || offset != b.offset {
			return fmt.Errorf("offset of ordinal %d is %d (%v), want %d", n, offset, err, b.offset)
		}
		if err := m.verifySeek(l, found, b.millis); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		return nil
	}
	if first := in.OldestTime.UnixMilli(); first < found[0].millis || (m.exact && first != found[0].millis) {
		return fmt.Errorf("oldest batch is of %d, info says %d", found[0].millis, first)
	}
	if last, got := found[len(found)-1].millis, in.NewestTime.UnixMilli(); got < last || (m.exact && got != last) {
		return fmt.Errorf("newest batch is of %d, info says %d", last, got)
	}
	return nil
}

// verifySeek checks that Seek of a time gives the first batch of that time,
// or an earlier one where a power cut has blurred the times.
func (m *model) verifySeek(l *Log, found []modelBatch, millis int64) error {
	got, err := l.Seek(time.UnixMilli(millis))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(found, func(b modelBatch) bool { return b.millis >= millis })
	if want := found[i].offset; got > want || (m.exact && got != want) {
		return fmt.Errorf("seek of %d gives %d, want %d", millis, got, want)
	}
	if !slices.ContainsFunc(found, func(b modelBatch) bool { return b.offset == got }) {
		return fmt.Errorf("seek of %d gives %d, where no batch begins", millis, got)
	}
	return nil
}

func offsetsOf(batches []modelBatch) []int64 {
	var offsets []int64
	for _, b := range batches {
		offsets = append(offsets, b.offset)
	}
	return offsets
}

package commitlog

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// LedRun is batches that the copy of a log stores by which the others go: it decides
// which of them are stored, and in which partition.
type LedRun struct {
	// Offset and Millis are as a Run has them.
	Offset, Millis int64
	// PartitionSize is what a partition does not pass; 0: the store's.
	PartitionSize int64
	// Parts are the batches, those of each caller by themselves.
	Parts []Part
}

// Part is batches of one caller: Data and Extents as Append has them, at least one.
type Part struct {
	Data    []byte
	Extents []batch.Extent
	// Bound has the part stored only if it gets the offset At. Else its batches have
	// the Outcome ErrOffset.
	Bound bool
	At    int64
}

// LedResult is what became of a LedRun.
type LedResult struct {
	// Parts are the results of the parts, as Append has them. A batch is stored
	// unless it has an Outcome that says otherwise.
	Parts []topic.Appended

	// What is stored of the run: where, and how much. Bytes are 0 if there is nothing:
	// all batches were duplicates or are out of order.
	Offset, Bytes, Batches, Messages int64
	// CRC is the CRC-32C of the stored bytes.
	CRC uint32
	// Roll tells that a partition begins with the run. For other copies it is
	// Run.Roll, and Millis is Run.Millis.
	Roll bool
	// Millis is the time that the batches have: that of the run, but never before
	// that of the batch before it.
	Millis int64

	partitionSize int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendLed appends a run as Append does, looking its numbered batches up, but at an
// offset and a time that it tells, and with one write: with an error nothing of it is
// stored, unless that is ErrInDoubt. What the log has at and after the offset is cut
// off first, as AppendRun does it. A partition begins with the run where the one
// before would pass its size, or where one was begun already.
//
// The error is ErrOffset where it is AppendRun's. It is ErrBusy if the run has
// numbered batches and the log does not have their table at hand: see ReadyNumbers.
// AppendLed does not wait for it.
func (l *Log) AppendLed(ctx context.Context, r *LedRun) (LedResult, error) {
	if err := ctx.Err(); err != nil {
		return LedResult{}, err
	}
	if err := l.makeWay(ctx, r.Offset, cutting{unread: true}); err != nil {
		return LedResult{}, err
	}
	result := LedResult{Offset: r.Offset, Millis: r.Millis, partitionSize: r.PartitionSize}
	if result.partitionSize == 0 {
		result.partitionSize = l.kept().PartitionSize
	}
	if len(r.Parts) == 0 {
		return result, nil
	}
	group := l.ledGroup(r, &result)
	rest, err := l.writeLed(r, group, true)
	if len(rest) > 0 {
		l.store.Owner.FreeFiles() // without writer: the syncs may want it
		_, err = l.writeLed(r, group, false)
	}
	if err == nil {
		err = group[0].err // all have the same
	}
	result.Parts = make([]topic.Appended, len(group))
	for i, g := range group {
		result.Parts[i] = g.result
		l.store.requests.free(g)
	}
	if err != nil {
		return LedResult{}, err
	}
	return result, nil
}

// ledGroup returns the parts of a run as requests.
func (l *Log) ledGroup(r *LedRun, result *LedResult) []*appendRequest {
	group := make([]*appendRequest, len(r.Parts))
	numbered := false
	for i, part := range r.Parts {
		g := l.store.requests.take()
		g.data, g.extents, g.expect = part.Data, part.Extents, -1
		g.placed, g.millis, g.led = true, r.Millis, result
		if part.Bound {
			g.expect = part.At
		}
		group[i] = g
		numbered = numbered || hasNumbered(part.Extents)
	}
	for _, g := range group {
		g.numbered = numbered && l.store.Numbers.Window() > 0 // all of them, so that all are refused
	}
	return group
}

// writeLed writes the parts of a run, and returns them if a descriptor is missing and
// patient is true.
func (l *Log) writeLed(r *LedRun, group []*appendRequest, patient bool) (rest []*appendRequest, err error) {
	l.writer.Lock()
	size := int64(0)
	for _, g := range group {
		size += int64(len(g.data))
	}
	switch next := l.next.Load(); {
	case next != r.Offset:
		err = fmt.Errorf("%w: a run at %d of a log that ends at %d", ErrOffset, r.Offset, next)
	case size > math.MaxInt64-next:
		err = l.passingRefusal("append", errNoOffsets)
	}
	if err != nil {
		l.writer.Unlock()
		return nil, err
	}
	return l.writeAndUnlock(group, patient), nil
}

// rollsFor reports whether a partition is to be begun for a part of a LedRun of which
// so many bytes are to be written. Caller holds writer.
func (l *Log) rollsFor(r *appendRequest, bytes int64) bool {
	if r.led == nil {
		return false
	}
	size := l.next.Load() - l.parts.Head().Base
	return size > 0 && size+bytes > r.led.partitionSize
}

// note notes what was written of a run, before it is published. Caller holds writer.
func (res *LedResult) note(l *Log, bytes int64) {
	if res == nil {
		return
	}
	res.Bytes, res.Millis = bytes, l.parts.LastMillis
	res.Roll = l.next.Load() == l.parts.Head().Base
	for _, b := range l.iovecs {
		res.CRC = crc32.Update(res.CRC, castagnoli, b)
	}
}

package fsck

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// scanPartition reads every byte of a partition. The error is the context's.
func (v *surveyor) scanPartition(s *survey, p *partitionFinding, head bool) error {
	limit := p.end - p.base
	if head && v.online {
		limit = min(limit, max(s.state.Synced-p.base, 0))
		p.unmarked = p.end - p.base - limit
	}
	f, err := v.open(p.name)
	if err != nil {
		if v.online && isGone(v, p.name) {
			return nil // removed a moment ago
		}
		s.unreadable(p.name, 0, p.base, limit, err)
		return v.ctx.Err()
	}
	defer f.Close()
	sp := &scanPass{v: v, s: s, p: p, f: f, head: head, limit: limit}
	sp.sc = &scan.Scanner{File: f, Topic: layout.TopicOf(s.topic)}
	if !v.online {
		sp.index = v.openIndex(s, p, limit)
		defer sp.index.Close()
	}
	if err := sp.run(); err != nil {
		if v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		s.unreadable(p.name, f.failed, p.base+f.failed, limit-f.failed, err)
		return nil
	}
	p.read = limit
	sp.finish()
	return nil
}

func isGone(v *surveyor, name string) bool {
	_, err := v.fs.Stat(name)
	return err != nil
}

// scanPass is one reading of a partition.
type scanPass struct {
	v     *surveyor
	s     *survey
	p     *partitionFinding
	f     *source
	sc    *scan.Scanner
	head  bool
	limit int64 // position: what follows does not count
	index *index.Reader
}

// run walks through the partition as recovery does. What the journal knows as
// damaged is not searched for batches: it has been taken from readers, and half
// of it may have been moved out.
func (sp *scanPass) run() error {
	sp.sc.Size, sp.sc.Synced = sp.limit, sp.trusted()
	sp.sc.Aside = layout.Clip(sp.s.state.Damaged, sp.p.base, sp.limit)
	at := int64(0)
	found, err := sp.sc.Scan(0, func(pos int64, h *batch.Header, n int64, _ bool) error {
		sp.index.Visit(pos, &sp.p.sum)
		if h.Codec != "" {
			if c := batch.CodecOf(h.Codec); c != 0 {
				sp.s.state.Packed[sp.p.base] |= c // for the journal that a repair writes
			}
			if err := sp.lookInside(pos, h, n); err != nil {
				return err
			}
		}
		sp.p.sum.Batches++
		sp.p.sum.Messages += h.Messages
		sp.v.advance(pos + n - at)
		at = pos + n
		return nil
	})
	if err != nil {
		return err
	}
	sp.v.advance(sp.limit - at)
	if found, err = sp.fromMark(found); err != nil {
		return err
	}
	end := sp.limit
	damaged := found.Damaged
	if tail := (layout.Range{From: found.Tail, To: sp.limit}); tail.From < tail.To {
		torn, err := sp.torn(tail.From)
		if err != nil {
			return err
		}
		if torn {
			if err := sp.tornTail(tail); err != nil {
				return err
			}
			end = tail.From
		} else {
			damaged = append(damaged, tail)
		}
	}
	for _, k := range sp.sc.Aside {
		if k.From >= end {
			continue // cut off with the torn tail
		}
		damaged = layout.Without(damaged, k)
		if err := sp.known(k); err != nil {
			return err
		}
	}
	for _, r := range damaged {
		if err := sp.damage(r); err != nil {
			return err
		}
	}
	return nil
}

// maxUnpacked is how much a compressed batch may be that any server takes.
const maxUnpacked = 1 << 30

// lookInside unpacks a compressed batch, which no server does that only stores it.
func (sp *scanPass) lookInside(pos int64, h *batch.Header, n int64) error {
	v, end := sp.v, pos+n
	name, messages, size := h.Codec, h.Messages, h.Size
	b, err := sp.sc.Bytes(end-size, size)
	if err != nil {
		return err
	}
	out, err := v.unpacker.Unpack(name, v.unpacked[:0], b, messages, maxUnpacked)
	if cap(out) <= scan.Chunk {
		v.unpacked = out
	}
	if errors.Is(err, codec.ErrUnknown) {
		sp.finding(Unchecked, FoundContent, layout.Range{From: pos, To: end}, fmt.Sprintf("compressed with %s, which this version does not know", name))
	} else if err != nil {
		sp.finding(Damage, FoundContent, layout.Range{From: pos, To: end},
			fmt.Sprintf("the checksum is right, and what is compressed with %s is not what the envelope says: %v", name, err))
	}
	return nil
}

// fromMark changes what was found to what recovery finds, which does not look at what
// is before the mark: if the index tells that a batch begins at the mark, nothing that
// is before it counts for what follows.
func (sp *scanPass) fromMark(found scan.Result) (scan.Result, error) {
	mark := max(sp.s.disk.Synced()-sp.p.base, 0)
	crosses := func(r layout.Range) bool { return r.From < mark && mark < r.To }
	tail := layout.Range{From: found.Tail, To: sp.limit}
	if sp.v.online || !sp.head || !crosses(tail) && !slices.ContainsFunc(found.Damaged, crosses) {
		return found, nil
	}
	ix := sp.v.openIndex(sp.s, sp.p, sp.limit)
	defer ix.Close()
	if !ix.Has(mark) {
		return found, nil
	}
	after, err := sp.sc.Scan(mark, func(int64, *batch.Header, int64, bool) error { return nil })
	if err != nil {
		return found, err
	}
	behind := layout.Range{From: mark, To: sp.limit}
	before := layout.Without(found.Damaged, behind)
	if tail.From < mark {
		before = layout.Join(before, layout.Range{From: tail.From, To: mark})
	}
	after.Damaged = append(before, after.Damaged...)
	return after, nil
}

// torn reports whether the invalid bytes from tail on, at the end of the
// partition, are what recovery cuts off.
func (sp *scanPass) torn(tail int64) (bool, error) {
	if sp.v.online {
		return false, nil
	}
	return sp.s.disk.Torn(sp.sc, sp.p.base, tail)
}

// trusted returns the position before which recovery takes nothing for torn.
func (sp *scanPass) trusted() int64 {
	if sp.p.base < sp.s.disk.UncheckedBefore() {
		return 0
	}
	return min(max(sp.s.disk.Synced()-sp.p.base, 0), sp.limit)
}

func (sp *scanPass) finding(level Level, kind FindingKind, r layout.Range, why string, remedies ...Action) {
	sp.s.add(Finding{
		Level: level, Kind: kind, File: sp.p.name, Position: r.From, Offset: sp.p.base + r.From, Length: r.To - r.From,
		Why: why, remedies: remedies,
	})
}

func (sp *scanPass) tornTail(r layout.Range) error {
	why, err := whyDamaged(sp.sc, r)
	if err != nil {
		return err
	}
	sp.finding(Note, FoundTornTail, r, "an append that did not reach the disk whole and was never known as durable: "+why,
		Action{Kind: ActSave}, Action{Kind: ActCut})
	sp.p.end = sp.p.base + r.From
	return nil
}

func (sp *scanPass) damage(r layout.Range) error {
	why, err := whyDamaged(sp.sc, r)
	if err != nil {
		return err
	}
	sp.finding(Damage, FoundBatch, r, why, Action{Kind: ActSave}, Action{Kind: ActMark}, Action{Kind: ActErase})
	sp.p.fresh = layout.Join(sp.p.fresh, layout.Range{From: sp.p.base + r.From, To: sp.p.base + r.To})
	return nil
}

// known looks at a range that the journal knows as damaged.
func (sp *scanPass) known(r layout.Range) error {
	zeros, err := allZeros(sp.f, r)
	if err != nil {
		return err
	}
	sp.v.advance(r.To - r.From)
	if zeros {
		sp.finding(Note, FoundHole, r, "known to the journal: its bytes were moved out, or never came")
		return nil
	}
	sc := &scan.Scanner{File: sp.f, Size: r.To, Topic: layout.TopicOf(sp.s.topic)}
	var sum journal.Totals
	found, err := sc.Scan(r.From, func(pos int64, h *batch.Header, _ int64, _ bool) error {
		sum.Batches++
		sum.Messages += h.Messages
		return nil
	})
	if err != nil {
		return err
	}
	if found.Valid == r.To && found.Damaged == nil {
		sp.finding(Note, FoundMended, r, "known to the journal as damaged, and valid again", Action{Kind: ActUnmark})
		sp.p.sum.Batches += sum.Batches
		sp.p.sum.Messages += sum.Messages
		sp.p.recount = true
		return nil
	}
	sp.finding(Damage, FoundSetAside, r, "known to the journal, and the bytes are still here", Action{Kind: ActSave}, Action{Kind: ActErase})
	return nil
}

// whyDamaged says what is wrong with a range, at whose beginning no valid batch is.
func whyDamaged(sc *scan.Scanner, r layout.Range) (string, error) {
	pos := r.From
	b, err := sc.Bytes(pos, min(int64(batch.MaxHeaderLen), sc.Size-pos))
	if err != nil {
		return "", err
	}
	h, n, perr := batch.Parse(b)
	switch {
	case errors.Is(perr, batch.ErrShort):
		return "a batch that is cut short", nil
	case perr != nil && len(bytes.Trim(b[:min(int64(len(b)), r.To-pos)], "\x00")) == 0:
		return "zeros", nil
	case perr != nil:
		return "no batch begins here", nil
	case string(h.Topic) != sc.Topic:
		return fmt.Sprintf("a batch of topic %q", h.Topic), nil
	case n > sc.Size-pos:
		return fmt.Sprintf("a batch of %d bytes, of which %d are there", n, sc.Size-pos), nil
	}
	if sum, err := sc.Checksum(pos+n-h.Size, pos+n); err != nil {
		return "", err
	} else if sum != h.CRC {
		return fmt.Sprintf("checksum is %d, the envelope says %d", sum, h.CRC), nil
	}
	if ok, err := sc.Holds(pos+n-h.Size, &h); err != nil || ok {
		return "a valid batch inside bytes that are none", err
	}
	return "its messages are not what the envelope says", nil
}

// allZeros reports whether a range of a file has nothing but zeros.
func allZeros(f *source, r layout.Range) (bool, error) {
	b := make([]byte, min(scan.Chunk, r.To-r.From))
	for pos := r.From; pos < r.To; pos += int64(len(b)) {
		b = b[:min(int64(len(b)), r.To-pos)]
		if err := vfs.ReadFull(f, b, pos); err != nil {
			return false, err
		}
		for _, c := range b {
			if c != 0 {
				return false, nil
			}
		}
	}
	return true, nil
}

// finish compares what was counted with what the index and the journal say.
func (sp *scanPass) finish() {
	if sp.v.online || sp.p.fresh != nil {
		return // to be counted anew anyway
	}
	if why := sp.index.Verdict(); why != "" && !sp.p.recount {
		sp.p.badIdx = true
		sp.s.note(FoundIndex, sp.index.Name, why+"; it is a cache, and made anew when it is needed", Action{Kind: ActIndex})
	}
	sp.checkTotals()
}

func (sp *scanPass) checkTotals() {
	p, st := sp.p, &sp.s.state
	e, known := st.Ends[p.base]
	if sp.head {
		known = st.Clean && st.Synced == p.end && p.end > p.base
		e = journal.PartitionEnd{End: p.end, Totals: st.Head}
	}
	if !known || e.End != p.end || p.recount || (e.Messages == p.sum.Messages && e.Batches == p.sum.Batches) {
		return
	}
	p.recount = true
	sp.s.note(FoundTotals, p.name, fmt.Sprintf("the journal counts %d batches with %d messages, there are %d with %d",
		e.Batches, e.Messages, p.sum.Batches, p.sum.Messages), Action{Kind: ActIndex, File: layout.Index(sp.s.topic, p.base), Position: -1, Offset: -1})
}

// openIndex opens the index of a partition for comparison.
func (v *surveyor) openIndex(s *survey, p *partitionFinding, limit int64) *index.Reader {
	return index.OpenReader(v.fs, layout.Index(s.topic, p.base), s.state.ID, p.base, limit)
}

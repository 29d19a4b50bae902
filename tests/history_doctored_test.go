package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// goodHistory is one of two topics with two numbered writers each and one without
// numbers, whose calls overlap, two readers and looks at the end.
func goodHistory() *history {
	h := &history{stored: make(map[string][]found)}
	clock := int64(1000)
	for _, topic := range []string{"a", "b"} {
		offset := int64(0)
		h.reads = append(h.reads, nil, nil)
		for n := int64(1); n <= 20; n++ {
			for i, writer := range []string{"w", "v", "plain"} {
				w := write{topic: topic, writer: topic + writer, n: n, seq: i < 2, call: clock, ret: clock + 25, fate: acked, offset: offset}
				w.sum = sum(fmt.Sprint(topic, writer, n))
				clock += 10
				size := 50 + n
				switch {
				case i == 2 && n%5 == 0:
					w.fate, w.offset = refusedIt, 0
				case i == 2 && n%5 == 1: // the answer is lost, and it is stored
					w.fate, w.ret, w.offset = unanswered, 0, 0
				case i == 2 && n%5 == 2: // and not stored
					w.fate, w.ret, w.offset = unanswered, 0, 0
					h.writes = append(h.writes, w)
					continue
				}
				h.writes = append(h.writes, w)
				if w.fate == refusedIt {
					continue
				}
				h.stored[topic] = append(h.stored[topic], found{offset, size, w.writer, n, w.sum})
				for r := range 2 {
					all := &h.reads[len(h.reads)-1-r]
					*all = append(*all, reading{topic, offset, size, w.sum, w.call + 20})
				}
				offset += size
				if w.fate == acked { // between this answer and the next call there is nothing else on its way
					h.looks = append(h.looks, look{topic, clock + 16, clock + 18, offset, "x"})
					clock += 50
				}
			}
		}
	}
	return h
}

// TestHistory has the check find each thing that no cluster may do, and nothing in a
// history as it should be.
func TestHistory(t *testing.T) {
	t.Parallel()
	if problems := goodHistory().check(); len(problems) > 0 {
		t.Fatalf("a good history: %s", strings.Join(problems, "\n"))
	}
	ofFate := func(h *history, f outcome, from int) *write {
		for i := range h.writes {
			if w := &h.writes[i]; w.fate == f && i >= from {
				return w
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		doctor func(h *history)
		want   string
	}{
		"an acknowledged batch is lost at the end": {func(h *history) {
			h.stored["a"] = h.stored["a"][:len(h.stored["a"])-1]
		}, "lost:"},
		"an acknowledged batch is lost in the middle": {func(h *history) {
			h.stored["a"] = slices.Delete(h.stored["a"], 7, 8)
		}, "lost:"},
		"a hole": {func(h *history) {
			h.stored["a"] = slices.Delete(h.stored["a"], 7, 8)
		}, "where the batch before ends"},
		"two batches at one offset": {func(h *history) {
			f := h.stored["a"][5]
			h.stored["a"] = slices.Insert(h.stored["a"], 6, f)
		}, "where the batch before ends"},
		"one batch at two offsets": {func(h *history) {
			all := h.stored["a"]
			f, last := all[4], all[len(all)-1]
			f.offset = last.offset + last.size
			h.stored["a"] = append(all, f)
		}, "is there twice"},
		"a batch without a number at two offsets": {func(h *history) {
			all := h.stored["a"]
			f, last := all[slices.IndexFunc(all, func(f found) bool { return f.writer == "aplain" })], all[len(all)-1]
			f.offset = last.offset + last.size
			h.stored["a"] = append(all, f)
		}, "is there twice"},
		"acknowledged at another offset": {func(h *history) {
			ofFate(h, acked, 30).offset++
		}, "and the answer says"},
		"bytes of a batch differ": {func(h *history) {
			h.stored["b"][3].sum++
		}, "has other bytes"},
		"a batch of nobody": {func(h *history) {
			h.stored["b"][3].writer = "x"
		}, "nobody has sent"},
		"a batch of another topic": {func(h *history) {
			h.stored["b"][3].writer = "aw"
		}, "nobody has sent"},
		"a refused batch is stored": {func(h *history) {
			w := ofFate(h, unanswered, 0)
			w.fate = refusedIt
		}, "was answered with an error"},
		"a number is left out": {func(h *history) {
			for i := range h.writes { // or it would be lost, too
				if w := &h.writes[i]; w.writer == "aw" && w.n == 9 {
					w.fate, w.ret = unanswered, 0
				}
			}
			h.stored["a"] = slices.DeleteFunc(h.stored["a"], func(f found) bool { return f.writer == "aw" && f.n == 9 })
		}, "stands behind its number 8"},
		"numbers of a writer are exchanged": {func(h *history) {
			all := h.stored["a"]
			i := slices.IndexFunc(all, func(f found) bool { return f.writer == "aw" && f.n == 3 })
			j := slices.IndexFunc(all, func(f found) bool { return f.writer == "aw" && f.n == 4 })
			all[i].n, all[j].n = all[j].n, all[i].n
		}, "stands behind its number"},
		"acknowledged before another was sent, and behind it": {func(h *history) {
			for i := range h.writes {
				if w := &h.writes[i]; w.writer == "av" && w.n == 5 {
					w.call = h.writes[len(h.writes)-1].call // as if it had come late, and went before what there was
				}
			}
		}, "stands behind it"},
		"a reader misses a batch": {func(h *history) {
			h.reads[1] = slices.Delete(h.reads[1], 5, 6)
		}, "comes next"},
		"a reader is sent a batch twice": {func(h *history) {
			h.reads[1] = slices.Insert(h.reads[1], 5, h.reads[1][5])
		}, "comes next"},
		"a reader goes back": {func(h *history) {
			h.reads[1] = append(h.reads[1], h.reads[1][3:]...)
		}, "comes next"},
		"a reader is sent what is not stored in the end": {func(h *history) {
			h.reads[0][9].sum++
		}, "is not what is stored there"},
		"a reader is sent what is beyond the final end": {func(h *history) {
			r := h.reads[0][len(h.reads[0])-1]
			r.offset += r.size
			h.reads[0] = append(h.reads[0], r)
		}, "is not what is stored there"},
		"a reader is sent what nobody has sent yet": {func(h *history) {
			h.reads[0][9].at = 1
		}, "before it was sent"},
		"fresh=1 without what was acknowledged": {func(h *history) {
			h.looks[9].next = h.looks[8].next
		}, "after more of it was acknowledged"},
		"fresh=1 without what was only read": {func(h *history) {
			for i := range h.writes {
				if h.writes[i].fate == acked {
					h.writes[i].fate, h.writes[i].ret = unanswered, 0
				}
			}
			h.looks[9].next = h.looks[8].next
		}, "after more of it was acknowledged or read"},
		"fresh=1 knows the future": {func(h *history) {
			h.looks[9].next = h.looks[20].next
		}, "before what is there was sent"},
		"fresh=1 ends inside of a batch": {func(h *history) {
			h.looks[9].next--
		}, "where no batch ends"},
		"fresh=1 of a topic that is not there": {func(h *history) {
			h.looks = append(h.looks, look{"none", 1, 2, 3, "x"})
		}, "nothing of it is stored"},
	} {
		t.Run(name, func(t *testing.T) {
			h := goodHistory()
			c.doctor(h)
			problems := h.check()
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, c.want) }) {
				t.Errorf("found is %q, want %q", problems, c.want)
			}
		})
	}
	t.Run("an answer that is lost says nothing", func(t *testing.T) {
		h := goodHistory()
		h.reads, h.looks = nil, nil
		for i := range h.writes {
			if w := &h.writes[i]; !w.seq && w.fate == acked {
				w.fate, w.ret = unanswered, 0
			}
		}
		if problems := h.check(); len(problems) > 0 {
			t.Errorf("found is %q", problems)
		}
	})
}

package tests

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// linearMost is how many operations are looked at at once whether there is an order of
// them that explains all answers: the search for it takes long for many.
const linearMost = 1000

// linearOp is an append that is stored, or an answer to a question with fresh=1 for the
// end, of one topic.
type linearOp struct {
	look   bool
	offset int64 // where the batch is, or the end that was told
	size   int64
}

// endModel is a topic as its clients see it: it has an end, at which an append goes, and
// which fresh=1 tells. It begins at an offset.
func endModel(from int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return from },
		Step: func(state, input, _ any) (bool, any) {
			end, op := state.(int64), input.(linearOp)
			if op.offset != end {
				return false, end
			}
			return true, end + op.size
		},
	}
}

// linearize returns what of a topic no order of its operations explains, or nothing. It
// looks at windows of the history: what stands in the topic from one offset to another,
// and what was told to end there.
func (h *history) linearize(topic string) (problems []string) {
	writes := make(map[writeID]*write, len(h.writes))
	for i := range h.writes {
		writes[writeID{h.writes[i].writer, h.writes[i].n}] = &h.writes[i]
	}
	var looks []look
	for _, l := range h.looks {
		if l.topic == topic {
			looks = append(looks, l)
		}
	}
	slices.SortStableFunc(looks, func(a, b look) int { return int(a.next - b.next) })
	all := h.stored[topic]
	for len(all) > 0 {
		from := all[0].offset
		var ops []porcupine.Operation
		n, told := 0, 0 // of all and looks that the window has
		for len(looks) > 0 && looks[0].next < from {
			looks = looks[1:]
		}
		for n < len(all) && len(ops) < linearMost {
			f := all[n]
			n++
			w := writes[writeID{f.writer, f.n}]
			if w == nil {
				return []string{fmt.Sprintf("%s: %v, which nobody has sent", topic, f)}
			}
			op := porcupine.Operation{Input: linearOp{offset: f.offset, size: f.size}, Call: w.call, Return: math.MaxInt64}
			if w.fate == acked {
				op.Return = w.ret
			}
			ops = append(ops, op)
			for ; told < len(looks) && looks[told].next <= f.offset+f.size; told++ {
				l := looks[told]
				ops = append(ops, porcupine.Operation{Input: linearOp{look: true, offset: l.next}, Call: l.call, Return: l.ret})
			}
		}
		if !porcupine.CheckOperations(endModel(from), ops) {
			problems = append(problems, fmt.Sprintf("%s from %d on: no order of %d appends and answers to fresh=1 explains them", topic, from, len(ops)))
		}
		all = all[n:]
	}
	return problems
}

// TestLinearize has a history explained that can be, and others not that can't be.
func TestLinearize(t *testing.T) {
	t.Parallel()
	many := func() *history { // so many that there are windows
		h := &history{stored: make(map[string][]found)}
		for n := range int64(5000) {
			w := write{topic: "a", writer: "w", n: n, call: 10 * n, ret: 10*n + 25, fate: acked, offset: 100 * n}
			if n%7 == 0 {
				w.fate, w.ret = unanswered, 0
			}
			h.writes = append(h.writes, w)
			h.stored["a"] = append(h.stored["a"], found{offset: 100 * n, size: 100, writer: "w", n: n})
			h.looks = append(h.looks, look{topic: "a", call: 10*n + 21, ret: 10*n + 35, next: 100 * (n + 1)})
		}
		return h
	}
	for name, c := range map[string]struct {
		history func() *history
		doctor  func(h *history)
		bad     bool
	}{
		"good":         {goodHistory, func(*history) {}, false},
		"many":         {many, func(*history) {}, false},
		"a stale look": {goodHistory, func(h *history) { h.looks[9].next = h.looks[8].next }, true},
		"a stale look among many": {many, func(h *history) {
			h.looks[4000].next = h.looks[3990].next
		}, true},
		"a look into the future": {many, func(h *history) {
			h.looks[3000].next = h.looks[3010].next
		}, true},
		"looks that go back": {many, func(h *history) {
			for i := range 4 {
				h.looks[1995+i].next, h.looks[1995+i].call, h.looks[1995+i].ret = 100*(1996-int64(i)), 10*1996+int64(i), 10*1996+int64(i)
			}
		}, true},
		"an append behind one that was sent after its answer": {many, func(h *history) {
			a, b := &h.writes[1000], &h.writes[1010]
			a.call, a.ret, b.call, b.ret = b.call, b.ret, a.call, a.ret
		}, true},
		"a look where no batch ends": {many, func(h *history) { h.looks[2000].next++ }, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.history()
			c.doctor(h)
			problems := slices.Concat(h.linearize("a"), h.linearize("b"))
			if (len(problems) > 0) != c.bad {
				t.Errorf("problems: %q", problems)
			}
		})
	}
}

package link

import (
	"slices"
	"testing"
)

func TestQueue(t *testing.T) {
	var q Queue[Call]
	var model []*Call
	for i := range 10000 {
		switch {
		case i%3 < 2:
			cl := &Call{answer: answer{Offset: int64(i)}}
			q.Push(cl)
			model = append(model, cl)
		case i%30 == 2:
			which := len(model) / 2
			q.Remove(model[which])
			model = slices.Delete(model, which, which+1)
		default:
			if got := q.Pop(); got != model[0] {
				t.Fatalf("step %d: pop = %d, want %d", i, got.Offset, model[0].Offset)
			}
			model = model[1:]
		}
		if q.Len() != len(model) || len(model) > 0 && q.Peek() != model[0] {
			t.Fatalf("step %d: %d calls queued, want %d", i, q.Len(), len(model))
		}
	}
	if cap(q.items) > 4*len(model) {
		t.Errorf("room for %d calls with %d queued", cap(q.items), len(model))
	}
}

package link

import (
	"iter"
	"slices"
)

// Queue is a first-in, first-out queue that keeps its memory.
type Queue[T any] struct {
	items []*T
	first int
}

// Len returns how many items there are.
func (q *Queue[T]) Len() int { return len(q.items) - q.first }

// Push adds the item at the end.
func (q *Queue[T]) Push(item *T) {
	// Moving the items down costs as much as popping the first half did.
	if len(q.items) == cap(q.items) && q.first > len(q.items)/2 {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, item)
}

// Peek returns the first item, nil if there is none.
func (q *Queue[T]) Peek() *T {
	if q.Len() == 0 {
		return nil
	}
	return q.items[q.first]
}

// Pop takes the first item out. There must be one.
func (q *Queue[T]) Pop() *T {
	item := q.items[q.first]
	q.items[q.first] = nil
	q.first++
	if q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
	}
	return item
}

// Remove takes the item out, wherever it stands, and reports whether it did.
func (q *Queue[T]) Remove(item *T) bool {
	for i := q.first; i < len(q.items); i++ {
		if q.items[i] == item {
			copy(q.items[i:], q.items[i+1:])
			q.items[len(q.items)-1] = nil
			q.items = q.items[:len(q.items)-1]
			return true
		}
	}
	return false
}

// All returns the items in order. They may not be changed meanwhile.
func (q *Queue[T]) All() iter.Seq[*T] { return slices.Values(q.items[q.first:]) }

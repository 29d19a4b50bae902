package walk

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// partition returns a partition of n batches, each with as many messages as its
// number modulo 3 and one more, its index, and the state before each batch and at
// the end.
func partition(t *testing.T, n int) (data []byte, ix *index.Index, states []index.Entry) {
	t.Helper()
	ix = index.New((&files.Cache{FS: vfstest.New(), Perm: 0o600, Limit: 1}).File("0.idx"), journal.ID{}, 0)
	var at index.Entry
	for i := range n {
		states = append(states, at)
		if ix.Wants(at.Pos, 1000) {
			if err := ix.Add(index.Entry{Pos: at.Pos, Messages: at.Messages, Batches: at.Batches, Millis: 1000}); err != nil {
				t.Fatal(err)
			}
		}
		var b batch.Builder
		for j := range i%3 + 1 {
			b.Add([]byte(strings.Repeat("x", 100*j)))
		}
		data = append(data, b.Finish("t")...)
		at = index.Entry{Pos: int64(len(data)), Messages: at.Messages + int64(i%3+1), Batches: at.Batches + 1}
	}
	return data, ix, append(states, at)
}

func same(a, b index.Entry) bool {
	return a.Pos == b.Pos && a.Messages == b.Messages && a.Batches == b.Batches
}

// A batch is found where one begins, and nowhere else.
func TestFind(t *testing.T) {
	data, ix, states := partition(t, 200)
	w := New(bytes.NewReader(data), "t")
	defer w.Free()
	for i, want := range states[:len(states)-1] {
		at, err := w.Find(ix, want.Pos, int64(len(data)))
		if err != nil || !same(at, want) {
			t.Fatalf("at %d: %+v, %v; want %+v", want.Pos, at, err, want)
		}
		for pos := want.Pos + 1; pos < states[i+1].Pos; pos += 7 {
			if _, err := w.Find(ix, pos, int64(len(data))); !errors.Is(err, topic.ErrNotFound) {
				t.Fatalf("at %d, inside the batch at %d: %v", pos, want.Pos, err)
			}
		}
	}
}

// A walk takes as many batches as it takes for the messages, within the bytes and
// the limit, as counting one by one does.
func TestWalk(t *testing.T) {
	data, ix, states := partition(t, 200)
	for _, limit := range []int64{int64(len(data)), states[150].Pos} {
		for from := 0; from < len(states) && states[from].Pos < limit; from += 13 {
			for _, messages := range []int64{1, 2, 3, 50, 1 << 40} {
				for _, maxBytes := range []int64{1, 300, 5000, 1 << 40} {
					for _, always := range []bool{false, true} {
						want := from
						for states[want].Pos < limit && states[want].Messages-states[from].Messages < messages &&
							(states[want+1].Pos-states[from].Pos <= maxBytes || want == from && always) {
							want++
						}
						w := New(bytes.NewReader(data), "t")
						at, err := w.Walk(ix, states[from], messages, maxBytes, always, limit)
						w.Free()
						if err != nil || !same(at, states[want]) {
							t.Fatalf("from batch %d, %d messages in %d bytes (%v) up to %d: %+v, %v; want %+v",
								from, messages, maxBytes, always, limit, at, err, states[want])
						}
					}
				}
			}
		}
	}
}

// Damage is met, told from what is no batch, and costs nothing before it.
func TestDamage(t *testing.T) {
	whole, ix, states := partition(t, 20)
	size := int64(len(whole))
	for name, damage := range map[string]func(b []byte){
		"of the envelope": func(b []byte) { b[states[5].Pos] = 'x' },
		"of the topic": func(b []byte) {
			copy(b[states[5].Pos:], bytes.Replace(b[states[5].Pos:states[6].Pos], []byte(" t "), []byte(" u "), 1))
		},
		"that makes it long": func(b []byte) { copy(b[states[5].Pos:], "BATCH t 999999999 ") },
	} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Clone(whole)
			damage(data)
			if bytes.Equal(data, whole) {
				t.Fatal("nothing is damaged")
			}
			w := New(bytes.NewReader(data), "t")
			defer w.Free()
			if _, err := w.Find(ix, states[5].Pos, size); !errors.Is(err, ErrDamaged) {
				t.Errorf("found: %v", err)
			}
			if at, err := w.Walk(ix, states[2], 1000, size, true, size); err != nil || !same(at, states[5]) {
				t.Errorf("walked to %+v (%v), want %+v", at, err, states[5])
			}
			at := states[5]
			if err := w.Step(&at, size); !errors.Is(err, ErrDamaged) || at != states[5] {
				t.Errorf("step to %+v: %v", at, err)
			}
		})
	}
}

// countReads counts the reads of a file.
type countReads struct {
	*bytes.Reader
	n int
}

func (c *countReads) ReadAt(b []byte, pos int64) (int, error) {
	c.n++
	return c.Reader.ReadAt(b, pos)
}

// To find a batch and step over it is one read, and allocates nothing.
func TestCost(t *testing.T) {
	data, ix, states := partition(t, 200)
	f := &countReads{Reader: bytes.NewReader(data)}
	for _, i := range []int{0, 70, 150, 199} {
		f.n = 0
		w := New(f, "t")
		at, err := w.Find(ix, states[i].Pos, int64(len(data)))
		if err == nil {
			err = w.Step(&at, int64(len(data)))
		}
		w.Free()
		if err != nil || !same(at, states[i+1]) || f.n != 1 {
			t.Errorf("batch %d: %+v (%v) with %d reads; want %+v with one", i, at, err, f.n, states[i+1])
		}
	}
	if _, err := New(f, "t").Find(ix, -1, 0); err == nil {
		t.Error("a batch is found before the first")
	}
}

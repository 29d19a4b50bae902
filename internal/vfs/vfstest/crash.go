package vfstest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Crash returns a new file system in a state in which a power cut at this
// moment may leave f. The same operations and the same generator give the
// same state. f goes on unchanged and can be crashed again.
func (f *FS) Crash(rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &crash{rng: rng, mode: keepChoice, image: make(map[*node]*node)}
	switch rng.IntN(10) {
	case 0:
		c.mode = keepNothing
	case 1:
		c.mode = keepAll
	case 2, 3:
		c.mode = keepUntil
		c.until = f.moment(rng)
	}
	return c.take(f)
}

// CrashKeepNothing returns a new file system with what was synced in f and
// nothing else. f goes on unchanged.
func (f *FS) CrashKeepNothing() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &crash{mode: keepNothing, image: make(map[*node]*node)}
	return c.take(f)
}

// moment chooses the number of an operation around the unsynced ones.
func (f *FS) moment(rng *rand.Rand) int {
	first := f.ops
	for _, o := range f.unsynced {
		first = min(first, o.seq)
	}
	f.root.visit(func(n *node) {
		if len(n.pending) > 0 {
			first = min(first, n.pending[0].seq)
		}
	})
	return max(first-1, 0) + rng.IntN(f.ops-max(first-1, 0)+1)
}

// visit calls fn for n and all that is visible below it.
func (n *node) visit(fn func(*node)) {
	fn(n)
	for _, c := range n.entries {
		c.visit(fn)
	}
}

// What a crash keeps of what was not synced.
type keepMode uint8

const (
	keepNothing keepMode = iota
	keepAll
	keepUntil  // all up to one operation, as if nothing was ever reordered
	keepChoice // a choice for each file and each entry
)

type crash struct {
	rng   *rand.Rand
	mode  keepMode
	until int // of keepUntil: the number of the last operation kept
	image map[*node]*node
}

// take makes the image.
func (c *crash) take(f *FS) *FS {
	to := New()
	to.clock = f.clock
	to.root = c.node(f.root, c.entries(f))
	for _, n := range c.image {
		for _, child := range n.entries {
			child.links++
		}
		to.used += n.cur.size
	}
	return to
}

// entries chooses the unsynced entries that are kept, by folder.
func (c *crash) entries(f *FS) map[*node][]*entryOp {
	if c.mode == keepNothing || len(f.unsynced) == 0 {
		return nil
	}
	type key struct {
		dir  *node
		name string
	}
	lost := make(map[key]bool)         // names of which nothing more is kept
	lostOps := make(map[*entryOp]bool) // for after
	decided := make(map[*entryOp]bool) // for with
	kept := make(map[*node][]*entryOp)
	bias := 0
	if c.mode == keepChoice {
		bias = 1 + c.rng.IntN(3)
	}
	for _, o := range f.unsynced {
		keep := true
		switch c.mode {
		case keepUntil:
			keep = o.seq <= c.until
		case keepChoice:
			keep = c.rng.IntN(4) < bias
		}
		for _, part := range [...]*entryOp{o, o.with} {
			for i := 0; part != nil && i < len(part.sets); i++ {
				keep = keep && !lost[key{part.dir, part.sets[i].name}]
			}
		}
		if o.with != nil && decided[o.with] {
			keep = !lostOps[o.with]
		}
		decided[o] = true
		if keep = keep && !lostOps[o.after]; keep {
			kept[o.dir] = append(kept[o.dir], o)
			continue
		}
		lostOps[o] = true
		for _, s := range o.sets {
			if s.name != "" {
				lost[key{o.dir, s.name}] = true
			}
		}
	}
	return kept
}

// node returns the image of n and of all below it.
func (c *crash) node(n *node, kept map[*node][]*entryOp) *node {
	if to := c.image[n]; to != nil {
		return to
	}
	to := &node{mode: n.mode, modTime: n.modTime}
	c.image[n] = to
	if !n.isDir() {
		to.synced = c.content(n)
		to.cur = to.synced.snapshot()
		return to
	}
	entries := maps.Clone(n.durable)
	for _, o := range kept[n] {
		o.apply(entries)
	}
	// In order, so that the generator is asked in order.
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		entries[name] = c.node(entries[name], kept)
	}
	to.entries, to.durable = entries, maps.Clone(entries)
	return to
}

// content chooses the bytes that are left of a file.
func (c *crash) content(n *node) content {
	mode := c.mode
	if mode == keepChoice && len(n.pending) > 0 {
		switch c.rng.IntN(8) {
		case 0:
			mode = keepNothing
		case 1:
			mode = keepAll
		case 2, 3:
			return c.prefix(n)
		case 4, 5:
			return c.blocks(n, 512)
		default:
			return c.blocks(n, pageSize)
		}
	}
	if mode == keepAll && !n.gap {
		return n.cur.snapshot()
	}
	left := n.synced.snapshot()
	for i := range n.pending {
		if mode == keepAll || mode == keepUntil && n.pending[i].seq <= c.until {
			n.pending[i].apply(&left)
		}
	}
	return left
}

// prefix keeps a prefix of the changes, the last one perhaps torn.
func (c *crash) prefix(n *node) content {
	left := n.synced.snapshot()
	kept := c.rng.IntN(len(n.pending) + 1)
	for i := range n.pending[:kept] {
		n.pending[i].apply(&left)
	}
	if kept < len(n.pending) && n.pending[kept].data != nil {
		torn := &n.pending[kept]
		unit := [...]int64{1, 512, pageSize}[c.rng.IntN(3)]
		if cut := c.cut(torn.off, torn.off+int64(len(torn.data)), unit); cut > torn.off {
			left.writeAt(torn.data[:cut-torn.off], torn.off)
		}
	}
	return left
}

// cut chooses a multiple of unit in [from, to], or from where there is none.
func (c *crash) cut(from, to, unit int64) int64 {
	first := (from + unit - 1) / unit
	if units := to/unit - first; units >= 0 {
		return (first + c.rng.Int64N(units+1)) * unit
	}
	return from
}

// blocks keeps each block as it was after some number of the changes, and the
// length as it was after some other number. A truncation goes with the
// length: bytes that it cut off come back only if it is lost.
func (c *crash) blocks(n *node, size int64) content {
	changes := n.pending
	upTo := c.rng.IntN(len(changes) + 1) // of the length
	length := n.synced.size
	for i := range changes[:upTo] {
		length = changes[i].resize(length)
	}
	// The length may have arrived in pieces too.
	if upTo < len(changes) && changes[upTo].data != nil && c.rng.IntN(2) == 0 {
		if longer := changes[upTo].resize(length); longer > length {
			length = c.cut(length, longer, size)
		}
	}

	left := n.synced.snapshot()
	kept := make(map[int64]int) // changes that reached a block
	// Where a truncation is lost, so is what was written in its place.
	barred := int64(math.MaxInt64)
	for i := range changes {
		ch := &changes[i]
		if ch.data == nil {
			if i < upTo {
				left.truncate(ch.off)
			} else {
				barred = min(barred, ch.off)
			}
			continue
		}
		for from, data := ch.off, ch.data; len(data) > 0; {
			block := from / size
			part := data[:min(int64(len(data)), (block+1)*size-from)]
			k, ok := kept[block]
			if !ok {
				k = c.reach(len(changes))
				kept[block] = k
			}
			if i < k && (block+1)*size <= barred {
				left.writeAt(part, from)
			}
			from, data = from+int64(len(part)), data[len(part):]
		}
	}
	left.truncate(length)
	return left
}

// reach chooses how many of n changes reached a block.
func (c *crash) reach(n int) int {
	switch c.rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return n
	}
	return c.rng.IntN(n + 1)
}

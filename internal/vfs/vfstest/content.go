package vfstest

import "slices"

const (
	pageSize    = 4096
	maxFileSize = 1 << 32
)

type page [pageSize]byte

// slot is the place of one page of a content. A nil page is zeros. Only an
// owned page may be written: the others belong to snapshots too.
type slot struct {
	p     *page
	owned bool
}

// content is the bytes of a file. Slots may end before size does, and what
// lies past size in the last page is zeros.
type content struct {
	size  int64
	slots []slot
}

// snapshot returns a copy that shares every page with c.
func (c *content) snapshot() content {
	for i := range c.slots {
		c.slots[i].owned = false
	}
	return content{c.size, slices.Clone(c.slots)}
}

// readAt copies the bytes from off on into p and returns how many there were.
func (c *content) readAt(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for done := 0; done < len(p); {
		i, at := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		part := p[done:min(len(p), done+pageSize-int(at))]
		if i < int64(len(c.slots)) && c.slots[i].p != nil {
			copy(part, c.slots[i].p[at:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(p)
}

// bytes returns a copy of the whole content.
func (c *content) bytes() []byte {
	p := make([]byte, c.size)
	c.readAt(p, 0)
	return p
}

// writeAt puts p at off, extending the content if need be.
func (c *content) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		at := off % pageSize
		n := copy(c.writable(off / pageSize)[at:], p)
		p, off = p[n:], off+int64(n)
		c.size = max(c.size, off)
	}
}

// truncate sets the length. What it adds is zeros.
func (c *content) truncate(size int64) {
	if size < c.size {
		if pages := int((size + pageSize - 1) / pageSize); pages < len(c.slots) {
			clear(c.slots[pages:])
			c.slots = c.slots[:pages]
		}
		if last := size / pageSize; last < int64(len(c.slots)) && c.slots[last].p != nil {
			clear(c.writable(last)[size%pageSize:])
		}
	}
	c.size = size
}

// writable returns the i-th page, to be written.
func (c *content) writable(i int64) *page {
	if need := int(i) + 1 - len(c.slots); need > 0 {
		c.slots = append(c.slots, make([]slot, need)...)
	}
	s := &c.slots[i]
	if !s.owned {
		p := new(page)
		if s.p != nil {
			*p = *s.p
		}
		*s = slot{p, true}
	}
	return s.p
}

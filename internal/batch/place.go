package batch

import (
	"bytes"
	"strconv"
)

// Place names a message of a topic: the offset of its batch, and where it begins in the
// batch's data. It is written OFFSET.DELTA.
type Place struct{ Offset, Delta int64 }

// Before reports whether p comes before q.
func (p Place) Before(q Place) bool {
	return p.Offset < q.Offset || p.Offset == q.Offset && p.Delta < q.Delta
}

// AppendPlace appends a place as it is written.
func AppendPlace(dst []byte, p Place) []byte {
	dst = strconv.AppendInt(dst, p.Offset, 10)
	dst = append(dst, '.')
	return strconv.AppendInt(dst, p.Delta, 10)
}

// ParsePlace is the inverse of [AppendPlace].
func ParsePlace(text []byte) (p Place, ok bool) {
	offset, delta, _ := bytes.Cut(text, []byte("."))
	var ok2 bool
	p.Offset, ok = ParseInt(offset)
	p.Delta, ok2 = ParseInt(delta)
	return p, ok && ok2
}

// Own reports whether a name is that of a topic of the server's own: it begins with __.
// Clients read such topics, and do not write to them.
func Own[T string | []byte](name T) bool { return len(name) >= 2 && name[0] == '_' && name[1] == '_' }

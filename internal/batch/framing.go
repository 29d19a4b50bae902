package batch

// HeaderFits reports whether p, without a line end, can be the beginning of an
// envelope line.
func HeaderFits(p []byte) bool {
	const prefix = "BATCH "
	n := min(len(p), len(prefix))
	if string(p[:n]) != prefix[:n] || len(p) >= MaxHeaderLen {
		return false
	}
	for i, c := range p[n:] {
		if c != ' ' && c != '=' && !topicByte[c] && (c != '\r' || n+i != len(p)-1) {
			return false
		}
	}
	return true
}

// Framing follows the messages of a batch while its data arrives. The zero
// value is at the beginning.
type Framing struct {
	next     int64 // where the next message begins
	messages int64 // that came before it
}

// Fits reports whether data, all that has arrived so far of what follows the
// envelope h, can be the beginning of its data: false means that it is not, true
// that nothing tells yet. [Check] tells in the end. The data that was given
// before must stand at the beginning of it. Of a compressed batch nothing tells.
func (f *Framing) Fits(h *Header, data []byte) bool {
	if h.Codec != "" {
		return true
	}
	for f.messages < h.Messages {
		if f.next >= h.Size {
			return false
		}
		if f.next >= int64(len(data)) {
			return true
		}
		length, known, ok := messageLen(data[f.next:])
		if !ok || known && length > h.Size-f.next {
			return false
		}
		if !known || length > int64(len(data))-f.next {
			return true
		}
		f.next += length
		if data[f.next-2] != '\r' || data[f.next-1] != '\n' {
			return false
		}
		f.messages++
	}
	return f.next == h.Size
}

// messageLen returns the length of the message that p begins with, if it is
// known, and false if p begins with none.
func messageLen(p []byte) (length int64, known, ok bool) {
	const prefix = "MSG "
	n := min(len(p), len(prefix))
	if string(p[:n]) != prefix[:n] {
		return 0, false, false
	}
	p = p[n:]
	i := 0
	for i < len(p) && p[i] >= '0' && p[i] <= '9' {
		i++
	}
	if i == len(p) {
		return 0, false, i <= 19 && (i < 2 || p[0] != '0')
	}
	size, ok := ParseInt(p[:i])
	if !ok || p[i] != '\r' || i+1 < len(p) && p[i+1] != '\n' {
		return 0, false, false
	}
	return MessageLen(0) - 1 + int64(i) + size, true, size < 1<<62
}

// Framed reports whether data is exactly the messages that h announces, whatever
// its checksum. Of compressed data that can't be told: it is false.
func Framed(h *Header, data []byte) bool {
	return h.Codec == "" && checkFraming(data, h.Messages) == nil
}

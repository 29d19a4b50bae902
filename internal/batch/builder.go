package batch

import "strconv"

// Builder collects messages into one batch without copying them a second
// time: data grows behind room that is kept for the envelope, which is written
// in front of it when the batch is finished.
//
// The zero Builder is ready for use. It keeps its memory between batches.
type Builder struct {
	buf      []byte // MaxHeaderLen bytes of room, then data
	messages int64
	codec    string // how data is packed that Load has put there
	crc      uint32 // of data, if summed
	summed   bool
}

// Reset drops the collected messages and keeps the memory.
func (b *Builder) Reset() {
	b.messages, b.codec, b.summed = 0, "", false
	if b.buf != nil {
		b.buf = b.buf[:MaxHeaderLen]
	}
}

// Add appends one message with the given body, which is copied, and returns
// its delta.
func (b *Builder) Add(body []byte) (delta int64) {
	if b.buf == nil {
		b.buf = make([]byte, MaxHeaderLen, MaxHeaderLen+512)
	}
	delta = int64(len(b.buf) - MaxHeaderLen)
	b.buf = append(b.buf, "MSG "...)
	b.buf = strconv.AppendInt(b.buf, int64(len(body)), 10)
	b.buf = append(b.buf, '\r', '\n')
	b.buf = append(b.buf, body...)
	b.buf = append(b.buf, '\r', '\n')
	b.messages++
	b.summed = false
	return delta
}

// Load replaces what was collected by a copy of the data of a batch with the envelope h,
// packed as it is. What is packed takes no further message: Add would spoil it, and Fits
// is false.
func (b *Builder) Load(h *Header, data []byte) {
	if b.buf == nil {
		b.buf = make([]byte, MaxHeaderLen, MaxHeaderLen+len(data))
	}
	b.buf = append(b.buf[:MaxHeaderLen], data...)
	b.messages, b.codec, b.summed = h.Messages, h.Codec, false
}

// Packed reports whether Load has put compressed data there.
func (b *Builder) Packed() bool { return b.codec != "" }

// Messages returns the number of messages added since the last Reset.
func (b *Builder) Messages() int64 { return b.messages }

// Size returns the length of the batch's data so far, in bytes.
func (b *Builder) Size() int64 { return int64(max(len(b.buf)-MaxHeaderLen, 0)) }

// Fits reports whether the batch, finished with one more message of n bytes and
// without a number, is sure to have at most max bytes. The checksum of the result not
// being known, it may say no for a batch that would just fit, by at most nine bytes.
func (b *Builder) Fits(topic string, n int, max int64) bool {
	h := Header{Size: b.Size() + MessageLen(n), CRC: 1<<32 - 1, Messages: b.messages + 1}
	return !b.Packed() && int64(h.Len()+len(topic))+h.Size <= max
}

// Finish returns the whole batch, envelope and data, for the given topic. The
// bytes alias the Builder's memory and are good until the next call of Add,
// Finish or Reset. It panics if no message was added or the topic is not
// valid: both are the program's mistakes, not its input's.
func (b *Builder) Finish(topic string) []byte { return b.FinishNumbered(topic, "", 0) }

// FinishNumbered is Finish of a batch that is the seq-th of the producer pid to
// that topic. With a seq of 0 it is not numbered. A number that is not valid is
// the program's mistake as well.
func (b *Builder) FinishNumbered(topic, pid string, seq int64) []byte {
	if b.messages == 0 || !ValidTopic(topic) {
		panic("batch: Finish without messages or with an invalid topic " + strconv.Quote(topic))
	}
	if seq < 0 || seq > 0 && !ValidPID(pid) {
		panic("batch: Finish with an invalid number " + strconv.Quote(pid) + " " + strconv.FormatInt(seq, 10))
	}
	data := b.buf[MaxHeaderLen:]
	// The line is written at the start of the room and moved against the data.
	line := appendHeader(b.buf[:0], int64(len(data)), topic, b.checksum(data), b.messages, b.codec, pid, seq)
	start := MaxHeaderLen - len(line)
	copy(b.buf[start:], line)
	return b.buf[start:]
}

// checksum returns that of data, which is the Builder's; it is made once if the batch is
// finished again under another number.
func (b *Builder) checksum(data []byte) uint32 {
	if !b.summed {
		b.crc, b.summed = Checksum(data), true
	}
	return b.crc
}

// Data returns the data so far, which aliases the Builder's memory.
func (b *Builder) Data() []byte { return b.buf[min(MaxHeaderLen, len(b.buf)):] }

// Seal returns the batch with the envelope h whose data stands in buf behind
// MaxHeaderLen bytes of room, which the envelope is written into. It sets the size and
// the checksum of h.
func Seal(buf []byte, h *Header) []byte {
	data := buf[MaxHeaderLen:]
	h.Size, h.CRC = int64(len(data)), Checksum(data)
	line := AppendHeader(buf[:0], h)
	start := MaxHeaderLen - len(line)
	copy(buf[start:], line)
	return buf[start:]
}

// MessageLen returns how many bytes of data a message with a body of n bytes
// takes.
func MessageLen(n int) int64 {
	return int64(len("MSG ")+digits(uint64(n))+2+n) + 2
}

// Renumber returns a batch that Parse takes with another number, or none, and the
// same data. It uses the memory of raw where that is enough.
func Renumber(raw []byte, pid string, seq int64) []byte {
	h, _, err := Parse(raw)
	if err != nil || seq < 0 || seq > 0 && !ValidPID(pid) {
		panic("batch: Renumber of what is no batch, or with an invalid number")
	}
	data := raw[h.Len():]
	line := appendHeader(make([]byte, 0, MaxHeaderLen), h.Size, h.Topic, h.CRC, h.Messages, h.Codec, pid, seq)
	if start := h.Len() - len(line); start >= 0 {
		copy(raw[start:], line)
		return raw[start:]
	}
	return append(line, data...)
}

// Package exportfile is the format of files that log-cli export writes and import reads:
// batches of one topic as a server stores them, with where and when they stood there.
// It checks every byte; what it does not do is to open files or ask servers.
//
//	logd-export 1
//	Topic: orders
//	Id: 7b61d7f7c8c1a35b19ec6eb55bd14a2b
//	From: 0
//	To: 1234
//
//	AT 0 1795892405120
//	BATCH 14 orders 1680380747 1
//	MSG 5
//	hello
//	…
//	END 1 1 42 <sha256>
//
// All lines end with CRLF. Id is the topic's, as INFO tells it. From and To are offsets:
// all batches from the one up to the other are in the file, but for those that retention
// or damage had taken; a gap shows in the offsets of AT. The second number of AT is when the batch was
// appended, in milliseconds since 1970, or "-" if that is not known. The line END has how many batches
// and messages there are, how many bytes the batches have, and the SHA-256 of all bytes of
// the file before that line, in hexadecimal. It is the last line: a file without it is torn.
package exportfile

import (
	"fmt"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
)

// magic is the first line.
const magic = "logd-export 1"

// endWord begins the last line.
const endWord = "END "

// maxLine bounds a line that is no part of a batch.
const maxLine = 1024

// maxUnpacked is how large the data of a compressed batch may be: as the client has it
// for what it reads.
const maxUnpacked = 64 << 20

// NoTime is the time of a batch of which it is not known.
const NoTime = -1

// Header is what a file says of itself before its batches.
type Header struct {
	Topic    string
	ID       string // of the topic
	From, To int64
}

// check returns why there can be no such header.
func (h *Header) check() error {
	switch {
	case !batch.ValidTopic(h.Topic):
		return fmt.Errorf("%q is no name of a topic", h.Topic)
	case !validID(h.ID):
		return fmt.Errorf("%q is no id of a topic", h.ID)
	case h.From < 0 || h.To < h.From:
		return fmt.Errorf("no offsets are from %d to %d", h.From, h.To)
	}
	return nil
}

// validID reports whether a topic may have the id: hexadecimal digits.
func validID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return id != "" && len(id) <= 128
}

func (h *Header) append(b []byte) []byte {
	return fmt.Appendf(b, "%s\r\nTopic: %s\r\nId: %s\r\nFrom: %d\r\nTo: %d\r\n\r\n", magic, h.Topic, h.ID, h.From, h.To)
}

// Batch is a batch of a file.
type Batch struct {
	Offset int64
	Millis int64 // when it was appended; NoTime if that is not known
	Header batch.Header
	Raw    []byte // as it is stored
	Data   []byte // its messages, unpacked
}

// Next returns the offset behind the batch.
func (b *Batch) Next() int64 { return b.Offset + int64(len(b.Raw)) }

func appendAt(b []byte, offset, millis int64) []byte {
	b = strconv.AppendInt(append(b, "AT "...), offset, 10)
	if millis < 0 {
		return append(b, " -\r\n"...)
	}
	return append(strconv.AppendInt(append(b, ' '), millis, 10), "\r\n"...)
}

// Summary is what the last line says.
type Summary struct {
	Batches, Messages, Bytes int64
}

// checker looks at stored batches, one after another.
type checker struct {
	topic    string
	next     int64 // where the next batch is, or a gap
	unpacker codec.Unpacker
	unpacked []byte
	sum      Summary
}

// check looks at the batch of the offset, and sets its Header and its Data, which are
// good until the next call.
func (c *checker) check(b *Batch, to int64) error {
	h, n, err := batch.Parse(b.Raw)
	switch {
	case err != nil:
		return err
	case n != int64(len(b.Raw)):
		return batch.ErrShort
	case c.topic != string(h.Topic):
		return fmt.Errorf("a batch of topic %q, not %q", h.Topic, c.topic)
	case b.Offset < c.next || b.Offset > to-n:
		return fmt.Errorf("a batch of %d bytes at %d, where those from %d to %d may be", n, b.Offset, c.next, to)
	}
	b.Header, b.Data = h, b.Raw[n-h.Size:]
	if err := batch.Check(&h, b.Data); err != nil {
		return err
	}
	if h.Codec != "" {
		c.unpacked, err = c.unpacker.Unpack(h.Codec, c.unpacked[:0], b.Data, h.Messages, maxUnpacked)
		if err != nil {
			return err
		}
		b.Data = c.unpacked
	}
	c.next = b.Next()
	c.sum.Batches++
	c.sum.Messages += h.Messages
	c.sum.Bytes += n
	return nil
}

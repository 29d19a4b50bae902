package logd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

const (
	// maxReplyLine bounds an answer's first line. Errors may name a host; all
	// else is shorter.
	maxReplyLine = protocol.MaxLine
	// readChunk is how much memory is taken ahead of the bytes that fill it.
	readChunk = 64 << 10
)

// errServerCloses is returned after an answer that ends the connection.
var errServerCloses = errors.New("the server closed the connection")

// replyReader reads answers from a stream. It takes no more memory than what
// has arrived, doubled, and a readChunk.
type replyReader struct {
	br      *bufio.Reader
	maxSize int64 // of one answer
}

// line reads an answer's first line and returns it without its end. It is good
// until the next read. io.EOF means that the stream ended between two answers.
func (r *replyReader) line() ([]byte, error) {
	line, err := r.envelope()
	if err != nil {
		return nil, err
	}
	return line[:len(line)-2], nil
}

// envelope reads a line and returns it with its end.
func (r *replyReader) envelope() ([]byte, error) {
	line, err := r.br.ReadSlice('\n')
	switch {
	case len(line) > maxReplyLine+2 || err == bufio.ErrBufferFull:
		return nil, fmt.Errorf("%w: its first line is over %d bytes", ErrBadAnswer, maxReplyLine)
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case len(line) < 2 || line[len(line)-2] != '\r':
		return nil, fmt.Errorf("%w: %q does not end with CRLF", ErrBadAnswer, line)
	}
	return line, nil
}

// answer reads what follows the answer's first line into cl. The error is not
// nil if no other answer can follow this one; cl.err tells whether cl has got
// what it asked for.
func (r *replyReader) answer(line []byte, cl *call) error {
	reply, err := protocol.ParseReply(line)
	if err != nil {
		return cl.broken("%q", line)
	}
	if reply.Kind == protocol.ReplyError {
		var closes bool
		cl.err, closes = answerError(reply.Reason)
		cl.refused = true
		if closes {
			return errServerCloses
		}
		return nil
	}
	switch cl.kind {
	case answerOK:
		if reply.Kind == protocol.ReplyOK {
			return nil
		}
	case answerAppend:
		if reply.Kind == protocol.ReplyOffset && reply.Batches == 1 {
			cl.offset = reply.Offset
			return nil
		}
	case answerOffset:
		if reply.Kind == protocol.ReplyOffset && reply.Batches == 0 {
			cl.offset = reply.Offset
			return nil
		}
	case answerBody:
		if reply.Kind == protocol.ReplyBody {
			return r.body(reply.Size, cl)
		}
	case answerBatches:
		if reply.Kind == protocol.ReplyOffset {
			return r.batches(&reply, cl)
		}
	}
	return cl.broken("%q is of another kind than the request", line)
}

// broken ends the call with an answer that breaks the protocol.
func (cl *call) broken(format string, args ...any) error {
	cl.err = fmt.Errorf("%w: %s", ErrBadAnswer, fmt.Sprintf(format, args...))
	return cl.err
}

// body reads the body of a MOK answer and the line end after it.
func (r *replyReader) body(size int64, cl *call) error {
	if limit := min(cl.maxBody, r.maxSize); size > limit {
		return cl.broken("a body of %d bytes, of at most %d", size, limit)
	}
	var err error
	if cl.body, err = r.read(cl.body[:0], size); err != nil {
		return err
	}
	var end [2]byte
	if _, err := io.ReadFull(r.br, end[:]); err != nil {
		return torn(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return cl.broken("%q follows a body", end[:])
	}
	return nil
}

// batches reads as many batches as the reply announces.
func (r *replyReader) batches(reply *protocol.Reply, cl *call) error {
	if cl.from >= 0 && reply.Offset != cl.from {
		return cl.broken("batches from offset %d, asked for %d", reply.Offset, cl.from)
	}
	if reply.Batches > cl.messages {
		return cl.broken("%d batches, asked for %d messages", reply.Batches, cl.messages)
	}
	res := cl.result
	res.Offset, res.Next = reply.Offset, reply.Offset
	for range reply.Batches {
		line, err := r.envelope()
		if err != nil {
			return torn(err)
		}
		h, err := batch.ParseHeader(line[:len(line)-2])
		if err != nil {
			return cl.broken("%q at offset %d is no envelope of a batch", line, res.Next)
		}
		if string(h.Topic) != cl.topic {
			return cl.broken("a batch of topic %q, asked for %q", h.Topic, cl.topic)
		}
		if h.Size > r.maxSize-int64(len(res.buf)+len(line)) {
			return cl.broken("batches from offset %d on are over MaxReplySize, %d bytes", reply.Offset, r.maxSize)
		}
		if h.Size > math.MaxInt64-res.Next-int64(len(line)) {
			return cl.broken("a batch of %d bytes at offset %d", h.Size, res.Next)
		}
		res.add(&h, len(line))
		res.buf = append(res.buf, line...)
		if res.buf, err = r.read(res.buf, h.Size); err != nil {
			return err
		}
	}
	res.slice()
	return nil
}

// read appends n bytes of the stream to dst. It takes memory as they arrive.
func (r *replyReader) read(dst []byte, n int64) ([]byte, error) {
	for n > 0 {
		step := int(min(n, max(readChunk, int64(len(dst)))))
		dst = slices.Grow(dst, step)
		start := len(dst)
		dst = dst[:start+step]
		if _, err := io.ReadFull(r.br, dst[start:]); err != nil {
			return dst, torn(err)
		}
		n -= int64(step)
	}
	return dst, nil
}

// torn returns the error for a stream that ends inside an answer.
func torn(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

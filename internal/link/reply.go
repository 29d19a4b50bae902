package link

import (
	"bufio"
	"bytes"
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
	br   *bufio.Reader
	opts *Options
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
func (r *replyReader) answer(line []byte, cl *Call) error {
	reply, err := protocol.ParseReply(line)
	if err != nil {
		return cl.broken("%q", line)
	}
	if reply.Kind == protocol.ReplyError {
		var closes bool
		cl.err, closes = r.refusal(reply.Reason, cl)
		cl.refused = true
		if closes {
			return errServerCloses
		}
		return nil
	}
	switch cl.kind {
	case AnswerOK:
		if reply.Kind == protocol.ReplyOK {
			return nil
		}
	case answerAppend:
		if reply.Kind == protocol.ReplyOffset && reply.Batches == 1 {
			cl.Offset = reply.Offset
			return nil
		}
	case AnswerOffset:
		if reply.Kind == protocol.ReplyOffset && reply.Batches == 0 {
			cl.Offset = reply.Offset
			return nil
		}
	case AnswerBody:
		if reply.Kind == protocol.ReplyBody {
			return r.body(reply.Size, cl)
		}
	case AnswerBatches:
		if reply.Kind == protocol.ReplyOffset {
			return r.batches(&reply, cl)
		}
	case AnswerAny:
		cl.Form, cl.Offset = reply.Kind, reply.Offset
		switch {
		case reply.Kind == protocol.ReplyBody:
			return r.body(reply.Size, cl)
		case reply.Batches == 0: // else batches follow, as far as can be known
			return nil
		}
	}
	return cl.broken("%q is of another kind than the request", line)
}

// refusal returns the error for the reason of an ERR answer, and whether the
// server closes the connection after it.
func (r *replyReader) refusal(reason []byte, cl *Call) (err error, closes bool) {
	if err := r.opts.Refusal(string(reason)); err != nil {
		return err, false
	}
	if e, ok := protocol.ErrorFor(string(reason)); ok {
		return e, e.Closes
	}
	if addr, ok := bytes.CutPrefix(reason, []byte(protocol.ErrNotLeader.Reason+" ")); ok {
		cl.leader = string(addr)
		return r.opts.NotLeader(cl.leader), false
	}
	return r.opts.OtherReply(string(reason)), false
}

// broken ends the call with an answer that breaks the protocol.
func (cl *Call) broken(format string, args ...any) error {
	cl.err = fmt.Errorf("%w: %s", ErrBadAnswer, fmt.Sprintf(format, args...))
	return cl.err
}

// body reads the body of a MOK answer and the line end after it.
func (r *replyReader) body(size int64, cl *Call) error {
	if limit := min(cl.MaxBody, r.opts.MaxReplySize); size > limit {
		return cl.broken("a body of %d bytes, of at most %d", size, limit)
	}
	var err error
	if cl.Body, err = r.read(cl.Body[:0], size); err != nil {
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

// batches reads as many batches as the reply announces, and checks each one.
// What comes before one that can't be taken is the answer, if there is any, and
// else cl.err, or cl.torn if the stream has ended, says why.
//
// If no more than the checksum is wrong, the answer goes on behind that batch.
// Otherwise its end can't be told: no other answer may follow.
func (r *replyReader) batches(reply *protocol.Reply, cl *Call) error {
	if cl.from >= 0 && reply.Offset != cl.from {
		return cl.broken("batches from offset %d, asked for %d", reply.Offset, cl.from)
	}
	if reply.Batches > cl.messages {
		return cl.broken("%d batches, asked for %d messages", reply.Batches, cl.messages)
	}
	res := cl.batches
	res.Offset, res.Next = reply.Offset, reply.Offset
	var bad *DamageError // the first
	var lost error       // no other answer may follow
	good := 0
	for range reply.Batches {
		framed, err := r.batch(cl, res)
		if err != nil && bad == nil {
			bad, good = &DamageError{res.Next, err}, len(res.Extents)
			if framed {
				bad.Offset, good = res.Extents[good-1].Offset, good-1
			}
		}
		if err != nil && !framed {
			lost = err
			break
		}
	}
	if bad == nil {
		return nil
	}
	res.Extents, res.Next = res.Extents[:good], bad.Offset
	unread := lost != nil && !errors.Is(lost, ErrBadAnswer) && !errors.Is(lost, ErrCorrupt)
	switch {
	case good > 0:
		cl.cut = true
	case unread && bad.Err == lost:
		cl.torn = bad
		return lost
	default:
		cl.err = bad
	}
	if lost == nil {
		return nil
	}
	return &DamageError{bad.Offset, lost}
}

// batch reads a batch and adds it to the others, if it is good or at least
// framed as its envelope says.
func (r *replyReader) batch(cl *Call, res *Batches) (framed bool, err error) {
	line, err := r.batchEnvelope()
	if err != nil {
		return false, torn(err)
	}
	bad := func(format string, args ...any) (bool, error) {
		return false, fmt.Errorf("%w: %s", ErrBadAnswer, fmt.Sprintf(format, args...))
	}
	h, err := batch.ParseHeader(line[:len(line)-2])
	switch {
	case err != nil:
		return bad("%q at offset %d is no envelope of a batch", line, res.Next)
	case string(h.Topic) != cl.topic:
		return bad("a batch of topic %q at offset %d, asked for %q", h.Topic, res.Next, cl.topic)
	case h.Size > r.opts.MaxReplySize-int64(len(res.Buf)+len(line)):
		return bad("batches from offset %d on are over MaxReplySize, %d bytes", res.Offset, r.opts.MaxReplySize)
	case h.Size > math.MaxInt64-res.Next-int64(len(line)):
		return bad("a batch of %d bytes at offset %d", h.Size, res.Next)
	}
	start, header := len(res.Buf), len(line)
	res.Buf = append(res.Buf, line...)
	h.Topic = nil // it is gone with the line
	if res.Buf, err = r.data(res.Buf, &h); err == nil {
		data := res.Buf[start+header:]
		err = batch.Check(&h, data)
		framed = err == nil || err == batch.ErrChecksum && batch.Framed(&h, data)
	}
	if err == batch.ErrChecksum || err == batch.ErrFraming {
		err = fmt.Errorf("%w at offset %d: %w", ErrCorrupt, res.Next, err)
	}
	if framed {
		res.add(&h, header)
	} else {
		res.Buf = res.Buf[:start]
	}
	return framed, err
}

// batchEnvelope is envelope of a batch. It does not wait for the end of a line
// that is none.
func (r *replyReader) batchEnvelope() ([]byte, error) {
	for {
		here, _ := r.br.Peek(r.br.Buffered())
		if bytes.IndexByte(here, '\n') >= 0 {
			return r.envelope()
		}
		if !batch.HeaderFits(here) {
			return nil, fmt.Errorf("%w: %.50q begins no envelope of a batch", ErrBadAnswer, here)
		}
		if _, err := r.br.Peek(len(here) + 1); err != nil {
			return r.envelope()
		}
	}
}

// data appends the batch's data to dst. Before it waits for more of them it
// looks at those that are here: if the size in the envelope is what is damaged,
// the rest never comes.
func (r *replyReader) data(dst []byte, h *batch.Header) ([]byte, error) {
	start := len(dst)
	var framing batch.Framing
	for left := h.Size; left > 0; {
		if r.br.Buffered() == 0 && !framing.Fits(h, dst[start:]) {
			return dst, batch.ErrFraming
		}
		at := len(dst)
		step := int(min(left, max(readChunk, int64(at))))
		dst = slices.Grow(dst, step)
		n, err := r.br.Read(dst[at : at+step])
		dst = dst[:at+n]
		left -= int64(n)
		if err != nil && left > 0 {
			return dst, torn(err)
		}
	}
	return dst, nil
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

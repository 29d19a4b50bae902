package protocol

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
)

// AppendOK appends the answer to a request that asks for nothing back.
func AppendOK(dst []byte) []byte { return append(dst, "OK\r\n"...) }

// AppendOffset appends the answer that names an offset and counts batches.
func AppendOffset(dst []byte, offset, batches int64) []byte {
	dst = append(dst, "OK "...)
	dst = strconv.AppendInt(dst, offset, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, batches, 10)
	return append(dst, '\r', '\n')
}

// AppendBody appends the answer that carries body.
func AppendBody(dst, body []byte) []byte {
	dst = append(dst, "MOK "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, '\r', '\n')
	dst = append(dst, body...)
	return append(dst, '\r', '\n')
}

// AppendError appends the error answer.
func AppendError(dst []byte, err *Error) []byte {
	dst = append(dst, "ERR "...)
	dst = append(dst, err.Reason...)
	return append(dst, '\r', '\n')
}

// ReplyKind tells the forms of an answer's first line apart.
type ReplyKind uint8

// The kinds of answers.
const (
	ReplyOK     ReplyKind = iota // OK
	ReplyOffset                  // OK <offset> <batches>
	ReplyBody                    // MOK <size>
	ReplyError                   // ERR <reason>
)

// Reply is the parsed first line of an answer.
type Reply struct {
	Kind    ReplyKind
	Offset  int64  // ReplyOffset
	Batches int64  // ReplyOffset
	Size    int64  // ReplyBody: length of the body, its closing CRLF not counted
	Reason  []byte // ReplyError; aliases the parsed line
}

// ErrReply is a line that is no answer of this protocol.
var ErrReply = errors.New("protocol: not an answer of this protocol")

// ParseReply parses an answer's first line, given without its line end.
func ParseReply(line []byte) (Reply, error) {
	word, rest, more := line, []byte(nil), false
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		word, rest, more = line[:i], line[i+1:], true
	}
	switch string(word) {
	case "OK":
		if !more {
			return Reply{Kind: ReplyOK}, nil
		}
		w := words{rest, true}
		offset, ok := w.int()
		batches, ok2 := w.int()
		if ok && ok2 && !w.more {
			return Reply{Kind: ReplyOffset, Offset: offset, Batches: batches}, nil
		}
	case "MOK":
		if size, ok := batch.ParseInt(rest); ok {
			return Reply{Kind: ReplyBody, Size: size}, nil
		}
	case "ERR":
		// A 0.3 server may answer a bare ERR.
		return Reply{Kind: ReplyError, Reason: rest}, nil
	}
	return Reply{}, ErrReply
}

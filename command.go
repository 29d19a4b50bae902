package logd

import (
	"context"
	"strings"

	"github.com/logd-dev/logd/internal/protocol"
)

// Reply is the answer to [Client.Command], which is the caller's.
type Reply struct {
	// Offset is that of an answer of the form OK <offset> 0. It is -1 if the answer
	// is of another form.
	Offset int64
	// Body is that of an answer of the form MOK <size>, without the line end behind
	// it. It is nil if the answer is of another form, and not nil if the body is
	// empty.
	Body []byte
	// Addr is the address of the server that answered.
	Addr string
}

// Command sends a request line of the protocol, given without its line end, and
// returns the answer. It is for requests that this package has no method for;
// those of an operator are in package admin.
//
// The request goes over the Client's connection in its turn, and counts as any
// other call: the answer must begin within ReadTimeout, and a body is at most
// MaxReplySize long. If the server does not lead, the request is sent to the one that
// does. Command repeats nothing that the server may have done and that may change
// something: if the error is ErrConnectionLost, or ctx ends, the server may have done
// what was asked for.
//
// The error is ErrInvalidRequest, and nothing is sent, if the line can't be such a
// request: it is longer than 1,024 bytes, has a line break or another control
// character in it, or does not begin with a word in upper case; or it is BATCH,
// MSG, READ or TAIL, which have data with them, or CLOSE, HELLO or AUTH, which are
// about a connection that others share.
//
// If the server does not know the command, the error is ErrInvalidProtocol and the
// server closes the connection, as it does with every line that is no request. If
// the answer is of none of the three forms OK, OK <offset> 0 and MOK <size>, the
// error is ErrBadAnswer and the Client closes the connection, because nobody knows
// where the next answer begins.
//
// Op of the [*OpError] is the command in lower case.
func (c *Client) Command(ctx context.Context, line string) (Reply, error) {
	call, topic, err := c.pool.Home().LineCall(line)
	if err != nil {
		return Reply{}, &OpError{Op: "command", Err: err}
	}
	call.MaxBody = c.cfg.MaxReplySize
	if f := c.pool.Do(ctx, topic, call); f != nil {
		word, _, _ := strings.Cut(line, " ")
		return Reply{}, failed(strings.ToLower(word), "", f)
	}
	defer call.Release()
	reply := Reply{Offset: -1, Addr: call.Addr}
	switch call.Form {
	case protocol.ReplyOffset:
		reply.Offset = call.Offset
	case protocol.ReplyBody:
		if reply.Body = call.TakeBody(); reply.Body == nil {
			reply.Body = []byte{}
		}
	}
	return reply, nil
}

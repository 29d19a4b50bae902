package system

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
)

// resp is a connection that speaks the little of Redis's protocol that streams
// need. A client of its own, without an object per entry, so that what is
// measured is the server.
type resp struct {
	nc      net.Conn
	in      *bufio.Reader
	body    []byte
	release func() bool
}

// maxBulk is the longest string that is taken.
const maxBulk = 16 << 20

func newResp(ctx context.Context, nc net.Conn) *resp {
	return &resp{nc: nc, in: bufio.NewReaderSize(nc, 256<<10), release: bind(ctx, nc)}
}

func (c *resp) Close() error {
	c.release()
	return c.nc.Close()
}

// appendAdd appends the command that adds an entry to a stream.
func appendAdd(out []byte, topic string, body []byte) []byte {
	out = append(out, "*5\r\n$4\r\nXADD\r\n"...)
	out = appendBulk(out, topic)
	out = append(out, "$1\r\n*\r\n$1\r\nd\r\n"...)
	return appendBulk(out, body)
}

func appendBulk[T string | []byte](out []byte, s T) []byte {
	out = append(out, '$')
	out = strconv.AppendInt(out, int64(len(s)), 10)
	out = append(out, "\r\n"...)
	out = append(out, s...)
	return append(out, "\r\n"...)
}

// send sends a command.
func (c *resp) send(words ...string) error {
	out := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		out = appendBulk(out, w)
	}
	_, err := c.nc.Write(out)
	return err
}

// do sends a command whose reply is a simple or a bulk string.
func (c *resp) do(words ...string) ([]byte, error) {
	if err := c.send(words...); err != nil {
		return nil, err
	}
	return c.bulk()
}

// line reads the first line of a reply: its kind, and the rest. An error reply
// is an error.
func (c *resp) line() (kind byte, rest []byte, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return 0, nil, fmt.Errorf("redis: reply begins with %q", line)
	}
	kind, rest = line[0], line[1:len(line)-2]
	if kind == '-' {
		return 0, nil, fmt.Errorf("redis: %s", rest)
	}
	return kind, rest, nil
}

// length reads a line of the kind that says a length; -1 means none.
func (c *resp) length(want byte, limit int) (int, error) {
	kind, rest, err := c.line()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(rest))
	if kind != want || err != nil || n < -1 || n > limit {
		return 0, fmt.Errorf("redis: reply is %q: want %q and a number up to %d", string(kind)+string(rest), want, limit)
	}
	return n, nil
}

// bulk reads a simple or a bulk string. It is good until the next call.
func (c *resp) bulk() ([]byte, error) {
	if first, err := c.in.Peek(1); err != nil {
		return nil, err
	} else if first[0] != '$' {
		kind, rest, err := c.line()
		if err == nil && kind != '+' {
			err = fmt.Errorf("redis: reply is %q: want a string", string(kind)+string(rest))
		}
		return rest, err
	}
	n, err := c.length('$', maxBulk)
	if err != nil || n < 0 {
		return nil, err
	}
	if cap(c.body) < n+2 {
		c.body = make([]byte, n+2)
	}
	c.body = c.body[:n+2]
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return nil, err
	}
	return c.body[:n], nil
}

// entries reads the reply to an XREAD of one stream. It sets last to the id of
// the last entry and returns how many there are.
func (c *resp) entries(last *[]byte, each func([]byte)) (int64, error) {
	n, err := c.length('*', 1)
	if err != nil || n < 1 {
		return 0, err // none in time
	}
	if err := c.pair(); err != nil {
		return 0, err
	}
	if _, err := c.bulk(); err != nil { // the stream's name
		return 0, err
	}
	return c.list(last, each)
}

// list reads an array of entries: each an id, and an array of one field and
// its value.
func (c *resp) list(last *[]byte, each func([]byte)) (int64, error) {
	n, err := c.length('*', 1<<20)
	if err != nil {
		return 0, err
	}
	for range n {
		if err := c.pair(); err != nil {
			return 0, err
		}
		id, err := c.bulk()
		if err != nil {
			return 0, err
		}
		*last = append((*last)[:0], id...)
		if err := c.pair(); err != nil {
			return 0, err
		}
		if _, err := c.bulk(); err != nil {
			return 0, err
		}
		body, err := c.bulk()
		if err != nil {
			return 0, err
		}
		each(body)
	}
	return int64(max(n, 0)), nil
}

// pair reads the head of an array of two.
func (c *resp) pair() error {
	n, err := c.length('*', 2)
	if err == nil && n != 2 {
		err = fmt.Errorf("redis: array of %d: want 2", n)
	}
	return err
}

package tests

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// message is one body and where it stands in its batch's data.
type message struct {
	delta int64
	body  string
}

// batch is a batch as it is stored.
type batch struct {
	offset   int64
	topic    string
	wire     string // envelope and data
	messages []message
}

func (b batch) end() int64 { return b.offset + int64(len(b.wire)) }

// encode makes the wire bytes of a batch.
func encode(topic string, bodies ...string) string {
	var data strings.Builder
	for _, body := range bodies {
		fmt.Fprintf(&data, "MSG %d\r\n%s\r\n", len(body), body)
	}
	return fmt.Sprintf("BATCH %d %s %d %d\r\n%s", data.Len(), topic, crc32.ChecksumIEEE([]byte(data.String())), len(bodies), data.String())
}

// decimal parses a number as the protocol writes it.
func decimal(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a number of the protocol", s)
	}
	return n, nil
}

// readLine reads a line that has to end with CRLF, and returns it without.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if err == io.EOF && line != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("line %q does not end with CRLF", line)
	}
	return text, nil
}

// readBatch reads one batch and checks all that can be checked of it.
func readBatch(r *bufio.Reader, offset int64) (batch, error) {
	line, err := readLine(r)
	if err != nil {
		return batch{}, err
	}
	words := strings.Split(line, " ")
	if len(words) == 7 && strings.HasPrefix(words[5], "pid=") && strings.HasPrefix(words[6], "seq=") {
		words = words[:5]
	}
	if len(words) != 5 || words[0] != "BATCH" {
		return batch{}, fmt.Errorf("at offset %d stands %q, which is no envelope", offset, line)
	}
	var numbers [3]int64
	for i, w := range []string{words[1], words[3], words[4]} {
		if numbers[i], err = decimal(w); err != nil {
			return batch{}, fmt.Errorf("envelope %q: %w", line, err)
		}
	}
	size, crc, count := numbers[0], numbers[1], numbers[2]
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return batch{}, fmt.Errorf("data of the batch at %d: %w", offset, noEOF(err))
	}
	if int64(crc32.ChecksumIEEE(data)) != crc {
		return batch{}, fmt.Errorf("checksum of the batch at %d is wrong", offset)
	}
	b := batch{offset: offset, topic: words[2], wire: line + "\r\n" + string(data)}
	if b.messages, err = parseMessages(string(data)); err != nil {
		return batch{}, fmt.Errorf("batch at %d: %w", offset, err)
	}
	if int64(len(b.messages)) != count || count == 0 {
		return batch{}, fmt.Errorf("batch at %d has %d messages, its envelope says %d", offset, len(b.messages), count)
	}
	return b, nil
}

func parseMessages(data string) (messages []message, err error) {
	for rest := data; rest != ""; {
		delta := int64(len(data) - len(rest))
		line, after, _ := strings.Cut(rest, "\r\n")
		length, ok := strings.CutPrefix(line, "MSG ")
		n, err := decimal(length)
		if !ok || err != nil || int64(len(after)) < n+2 || after[n:n+2] != "\r\n" {
			return nil, fmt.Errorf("no message at delta %d", delta)
		}
		messages = append(messages, message{delta, after[:n]})
		rest = after[n+2:]
	}
	return messages, nil
}

// readBatches reads batches up to the end of r, which begins at offset.
func readBatches(r io.Reader, offset int64) (batches []batch, err error) {
	in := bufio.NewReader(r)
	for {
		if _, err := in.Peek(1); err == io.EOF {
			return batches, nil
		}
		b, err := readBatch(in, offset)
		if err != nil {
			return batches, err
		}
		batches = append(batches, b)
		offset = b.end()
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// refusal is the reason of an error answer.
type refusal string

func (r refusal) Error() string { return "ERR " + string(r) }

// conn is a connection that speaks the protocol and returns errors. An error
// answer is a refusal.
type conn struct {
	tcp *net.TCPConn
	in  *bufio.Reader
}

func connect(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{c.(*net.TCPConn), bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *conn) close() { c.tcp.Close() }

// send sends a text, whose answer has to come before long: the deadline is that
// of the request, since a test may talk for minutes.
func (c *conn) send(text string) error {
	if err := c.tcp.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return err
	}
	_, err := io.WriteString(c.tcp, text)
	return err
}

// answer reads the first line of an answer; ERR is a refusal.
func (c *conn) answer() (string, error) {
	line, err := readLine(c.in)
	if err != nil {
		return "", err
	}
	if reason, ok := strings.CutPrefix(line, "ERR "); ok {
		return "", refusal(reason)
	}
	return line, nil
}

// offset reads an answer OK <offset> <n>.
func (c *conn) offset() (offset, n int64, err error) {
	line, err := c.answer()
	if err != nil {
		return 0, 0, err
	}
	words := strings.Split(line, " ")
	if len(words) == 3 && words[0] == "OK" {
		if offset, err = decimal(words[1]); err == nil {
			n, err = decimal(words[2])
		}
		return offset, n, err
	}
	return 0, 0, fmt.Errorf("answer %q, want OK <offset> <n>", line)
}

// batches reads an answer OK <offset> <n> and the n batches.
func (c *conn) batches() (offset int64, batches []batch, err error) {
	offset, n, err := c.offset()
	if err != nil {
		return 0, nil, err
	}
	next := offset
	for range n {
		b, err := readBatch(c.in, next)
		if err != nil {
			return offset, batches, noEOF(err)
		}
		batches = append(batches, b)
		next = b.end()
	}
	return offset, batches, nil
}

// body reads an answer MOK <size> and its body.
func (c *conn) body() (string, error) {
	line, err := c.answer()
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(line, "MOK ")
	size, err := decimal(text)
	if !ok || err != nil {
		return "", fmt.Errorf("answer %q, want MOK <size>", line)
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return "", noEOF(err)
	}
	body, ok := bytes.CutSuffix(b, []byte("\r\n"))
	if !ok {
		return "", fmt.Errorf("body %q is not followed by CRLF", b)
	}
	return string(body), nil
}

// client is a connection for tests: what goes wrong ends the test.
type client struct {
	*conn
	t testing.TB
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return &client{c, t}
}

func (c *client) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// write sends text as it is.
func (c *client) write(format string, args ...any) {
	c.t.Helper()
	c.check(c.send(fmt.Sprintf(format, args...)))
}

// append appends a batch and returns its offset.
func (c *client) append(topic string, bodies ...string) int64 {
	c.t.Helper()
	c.check(c.send(encode(topic, bodies...)))
	offset, n, err := c.offset()
	c.check(err)
	if n != 1 {
		c.t.Fatalf("answer to BATCH names %d batches, want 1", n)
	}
	return offset
}

// read reads from the offset, which the answer has to name.
func (c *client) read(topic string, offset, messages int64, words ...string) []batch {
	c.t.Helper()
	c.write("%s\r\n", strings.Join(append([]string{fmt.Sprintf("READ %s %d %d", topic, offset, messages)}, words...), " "))
	got, batches, err := c.batches()
	if err != nil {
		c.t.Fatalf("READ %s %d %d: %v", topic, offset, messages, err)
	}
	if got != offset {
		c.t.Fatalf("the answer to READ %d names offset %d", offset, got)
	}
	return batches
}

// all reads a topic from the offset to the end.
func (c *client) all(topic string, offset int64) (batches []batch) {
	c.t.Helper()
	for next := c.number(topic, "Next"); offset < next; {
		got := c.read(topic, offset, 100)
		if len(got) == 0 {
			c.t.Fatalf("READ %s %d, before the end at %d, gives nothing", topic, offset, next)
		}
		batches = append(batches, got...)
		offset = got[len(got)-1].end()
	}
	return batches
}

// ask sends a request line whose answer has a body.
func (c *client) ask(format string, args ...any) string {
	c.t.Helper()
	c.write(format+"\r\n", args...)
	body, err := c.body()
	c.check(err)
	return body
}

// fields are the lines "name: value" of a body.
func fields(body string) map[string]string {
	m := make(map[string]string)
	for line := range strings.SplitSeq(body, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			m[name] = value
		}
	}
	return m
}

// number returns a number of INFO.
func (c *client) number(topic, name string) int64 {
	c.t.Helper()
	n, err := decimal(fields(c.ask("INFO %s", topic))[name])
	c.check(err)
	return n
}

// synced returns when the topic's batches are all on stable storage.
func (c *client) synced(topic string) {
	c.t.Helper()
	next := c.number(topic, "Next")
	for begun := time.Now(); c.number(topic, "Synced") < next; time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			c.t.Fatalf("topic %s is not synced to %d after %v", topic, next, patience)
		}
	}
}

// stat returns a number of STATS.
func (c *client) stat(name string) int64 {
	c.t.Helper()
	n, err := decimal(fields(c.ask("STATS"))[name])
	c.check(err)
	return n
}

// refused sends text whose answer has to be the error.
func (c *client) refused(reason, format string, args ...any) {
	c.t.Helper()
	c.write(format, args...)
	line, err := c.answer()
	if err != refusal(reason) {
		c.t.Fatalf("the answer to %.80q is %q, %v, want ERR %s", fmt.Sprintf(format, args...), line, err, reason)
	}
	seen.Store(reason, true)
}

// line reads one line that has to be the given one.
func (c *client) line(want string) {
	c.t.Helper()
	got, err := readLine(c.in)
	if err != nil || got != want {
		c.t.Fatalf("got line %q, %v, want %q", got, err, want)
	}
}

// closed waits until the server has closed the connection, without a word, and
// closes it, too.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err != io.EOF {
		c.t.Fatalf("got byte %q, %v, want the end of the connection", b, err)
	}
	c.close()
}

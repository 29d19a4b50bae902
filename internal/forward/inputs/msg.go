package inputs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/socket"
)

// maxRequestLine bounds a line of a sender, as the protocol of logd does.
const maxRequestLine = 1024

// readBuffer is what a connection has to read into.
const readBuffer = 16 << 10

// ackGap is the time between two OKs that are not about the last message received: at
// most 100 a second.
const ackGap = 10 * time.Millisecond

// msgError is an answer that begins with ERR.
type msgError string

func (e msgError) Error() string { return string(e) }

// Those that end the connection; topic not allowed does not.
const (
	errProtocol   msgError = "invalid protocol"
	errTooLarge   msgError = "too large"
	errBusy       msgError = "busy"
	errShutting   msgError = "shutting down"
	errNotAllowed msgError = "topic not allowed"
)

// errClosed ends a connection whose sender said CLOSE.
var errClosed = errors.New("CLOSE")

// msgConn is a connection on which MSGs come.
type msgConn struct {
	in     *Input
	remote string
	r      *bufio.Reader
	take   taker
	topics map[string]string // names that were used, so that they are not made anew
	answer answers
}

// serveMsg serves a connection until its end.
func (in *Input) serveMsg(nc net.Conn, remote string) {
	live := in.sink.Live(in.config.Load().Name, nameOf(in, remote))
	defer live.Close()
	c := &msgConn{in: in, remote: remote, take: taker{in: in, live: live}, topics: make(map[string]string)}
	c.answer.nc, c.answer.in, c.answer.wake, c.answer.end = nc, in, make(chan struct{}, 1), make(chan struct{})
	defer c.answer.stop()
	c.r = bufio.NewReaderSize(&reader{nc: nc, before: c.flush}, readBuffer)

	var err error
	for err == nil {
		err = c.next()
	}
	if e := c.flush(); e != nil && (errors.Is(err, io.EOF) || errors.Is(err, errStopped) || errors.Is(err, errClosed)) {
		err = e
	}
	c.finish(err)
	socket.Linger(nc)
}

// nameOf names a source for people.
func nameOf(in *Input, remote string) string {
	if remote != "" {
		return remote
	}
	return in.config.Load().From.Addr
}

// finish tells the sender what is safe, and how the connection ends.
func (c *msgConn) finish(err error) {
	var said msgError
	switch {
	case errors.As(err, &said):
	case errors.Is(err, errStopped), errors.Is(err, feed.ErrClosing), errors.Is(err, context.Canceled):
		said = errShutting
	case errors.Is(err, feed.ErrFull):
		said = errBusy
	case errors.Is(err, errClosed), errors.Is(err, io.EOF):
	default: // the connection is gone
		c.in.log.Debug("a connection broke", "remote", c.remote, "error", err)
		return
	}
	c.answer.last()
	switch {
	case said != "":
		c.answer.err(said)
		if said != errShutting {
			c.in.sparse.Log(c.in.log, slog.LevelWarn, "a sender was cut off", "source", nameOf(c.in, c.remote), "error", said)
		}
	case errors.Is(err, errClosed):
		c.answer.write([]byte("OK\r\n"))
	}
}

// next reads one line of the sender, and what follows it.
func (c *msgConn) next() error {
	first, err := c.r.Peek(1)
	if err != nil {
		return err
	}
	if b := first[0]; b < 'A' || b > 'Z' {
		return errProtocol // and no end of a line is waited for
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxRequestLine {
			return errProtocol
		}
		return unexpected(err)
	}
	if len(line) > maxRequestLine {
		return errProtocol
	}
	line = line[:len(line)-1]
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch string(line) {
	case "PING":
		return c.answer.write([]byte("OK\r\n"))
	case "CLOSE":
		return errClosed
	case "ACK":
		if err := c.flush(); err != nil { // what came before does not count
			return err
		}
		if !c.answer.begin() {
			return errProtocol
		}
		err := c.answer.write([]byte("OK 0\r\n"))
		c.answer.running.Go(c.answer.run)
		return err
	}
	size, topic, err := parseMsg(line)
	if err != nil {
		return err
	}
	return c.message(size, topic)
}

// unexpected is the error of an end in the middle of something, which is not taken.
func unexpected(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// parseMsg parses the line of a MSG.
func parseMsg(line []byte) (size int64, topic []byte, err error) {
	rest, ok := bytes.CutPrefix(line, []byte("MSG "))
	if !ok {
		return 0, nil, errProtocol
	}
	word, rest, more := bytes.Cut(rest, []byte(" "))
	if size, ok = batch.ParseInt(word); !ok {
		return 0, nil, errProtocol
	}
	if more {
		if topic, ok = bytes.CutPrefix(rest, []byte("topic=")); !ok || len(topic) == 0 || bytes.IndexByte(topic, ' ') >= 0 {
			return 0, nil, errProtocol
		}
	}
	return size, topic, nil
}

// message reads the body of a MSG.
func (c *msgConn) message(size int64, name []byte) error {
	config := c.in.config.Load()
	if size > int64(config.MaxLine) {
		return errTooLarge
	}
	topic, allowed := "", true
	if name != nil {
		if topic, allowed = c.topics[string(name)]; !allowed {
			topic = string(name)
		}
		if allowed = config.allows(topic); allowed && len(c.topics) < 1000 {
			c.topics[topic] = topic
		}
	}
	body, err := c.body(int(size))
	if err != nil {
		return err
	}
	if !allowed {
		if err := c.answer.refused(); err != nil {
			return err
		}
		c.in.sparse.Log(c.in.log, slog.LevelWarn, "a message was refused: it names a topic that topics does not allow", "source", nameOf(c.in, c.remote))
		return nil
	}
	c.answer.count()
	if c.take.add(feed.Message{Body: body, Remote: c.remote, Topic: topic}) {
		return c.flush()
	}
	return nil
}

// body returns the next size bytes, which are followed by CRLF, or LF from a person. They
// are good until the next read.
func (c *msgConn) body(size int) ([]byte, error) {
	var body []byte
	if size <= readBuffer-2 {
		// They are looked at where they are.
		p, err := c.r.Peek(size + 1)
		if err != nil {
			return nil, unexpected(err)
		}
		end := 1
		if p[size] == '\r' {
			end = 2
			if p, err = c.r.Peek(size + 2); err != nil {
				return nil, unexpected(err)
			}
		}
		if p[size+end-1] != '\n' {
			return nil, errProtocol
		}
		c.r.Discard(size + end)
		return p[:size], nil
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, unexpected(err)
	}
	end, err := c.r.ReadByte()
	if err == nil && end == '\r' {
		end, err = c.r.ReadByte()
	}
	if err == nil && end != '\n' {
		err = errProtocol
	}
	return body, err
}

// flush puts what was taken.
func (c *msgConn) flush() error {
	safe := c.answer.cover(c.take.len())
	err := c.take.put(safe)
	if err != nil {
		c.answer.uncover()
	}
	return err
}

// answers are what a sender is told. Once it asked for it, they say how many of its
// messages are safe.
type answers struct {
	in   *Input
	nc   net.Conn
	wake chan struct{} // there may be something to tell

	end     chan struct{} // of run
	ended   sync.Once
	running sync.WaitGroup

	writing sync.Mutex // held while an answer is written

	mu       sync.Mutex
	acking   bool
	received int64      // messages since ACK
	covered  int64      // of them, those that are put
	puts     []*putting // in order, those that are not safe
	safe     int64      // so many are, from the first one on
	told     int64
}

// putting is a Put that is not safe yet, or waits for one before it.
type putting struct {
	upto int64 // the number of its last message
	safe bool
}

// begin begins the counting. It reports whether that was not done before.
func (a *answers) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := a.acking
	a.acking = true
	return !began
}

// count counts a message.
func (a *answers) count() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acking {
		a.received++
	}
}

// refused counts a message whose topic is not allowed, and says so.
func (a *answers) refused() error {
	a.count()
	return a.writeErr(errNotAllowed, 0)
}

// cover returns what is to be called when the messages that were counted since the last
// call are safe. If n, the number of those that will be put, is 0, they are: they were
// refused.
func (a *answers) cover(n int) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.acking || a.covered == a.received {
		return nil
	}
	p := &putting{upto: a.received}
	a.covered = a.received
	a.puts = append(a.puts, p)
	if n == 0 {
		a.done(p)
		return nil
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.done(p)
	}
}

// uncover takes back the last cover: nothing was put.
func (a *answers) uncover() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.puts); n > 0 {
		a.puts = a.puts[:n-1]
	}
	a.covered = a.safe
	if n := len(a.puts); n > 0 {
		a.covered = a.puts[n-1].upto
	}
	a.received = a.covered
}

// done notes that a Put is safe. The caller holds mu.
func (a *answers) done(p *putting) {
	p.safe = true
	for len(a.puts) > 0 && a.puts[0].safe {
		a.safe = a.puts[0].upto
		a.puts[0] = nil
		a.puts = a.puts[1:]
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// stop ends run.
func (a *answers) stop() {
	a.ended.Do(func() { close(a.end) })
	a.running.Wait()
}

// run tells the sender what is safe, until stop.
func (a *answers) run() {
	var last time.Time
	for {
		a.mu.Lock()
		news, all := a.safe != a.told, a.safe == a.received
		a.mu.Unlock()
		var later <-chan time.Time
		if news {
			wait := ackGap - time.Since(last)
			if all || wait <= 0 {
				if a.ok() != nil {
					return
				}
				last = time.Now()
				continue
			}
			later = time.After(wait)
		}
		select {
		case <-a.wake:
		case <-later:
		case <-a.end:
			return
		}
	}
}

// ok says how many messages are safe.
func (a *answers) ok() error {
	a.writing.Lock()
	defer a.writing.Unlock()
	a.mu.Lock()
	n := a.safe
	a.told = n
	a.mu.Unlock()
	return a.send(strconv.AppendInt([]byte("OK "), n, 10))
}

// last waits until all that was put is safe, unless the input ends before, and says how
// many are.
func (a *answers) last() {
	a.stop()
	if !a.acking { // which nobody else changes
		return
	}
	for {
		a.mu.Lock()
		all := len(a.puts) == 0
		a.mu.Unlock()
		if all {
			break
		}
		select {
		case <-a.wake:
		case <-a.in.life.Done():
			all = true
		}
		if all {
			break
		}
	}
	a.ok()
}

// err says what was wrong with the message after those received.
func (a *answers) err(e msgError) error { return a.writeErr(e, 1) }

// writeErr says what was wrong with the message received last, or the one that follows it.
func (a *answers) writeErr(e msgError, following int64) error {
	b := append([]byte("ERR "), e...)
	a.mu.Lock()
	if a.acking {
		b = strconv.AppendInt(append(b, " msg="...), a.received+following, 10)
	}
	a.mu.Unlock()
	return a.write(append(b, '\r', '\n'))
}

// write writes an answer. Who reads none for timeout is cut off.
func (a *answers) write(b []byte) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	return a.sendLine(b)
}

func (a *answers) send(b []byte) error { return a.sendLine(append(b, '\r', '\n')) }

// sendLine writes a line. The caller holds writing.
func (a *answers) sendLine(b []byte) error {
	a.nc.SetWriteDeadline(time.Now().Add(a.in.config.Load().Timeout))
	_, err := a.nc.Write(b)
	if err != nil {
		a.nc.Close() // it may wait to be read
	}
	return err
}

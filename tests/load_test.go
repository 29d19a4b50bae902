package tests

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load is writers that write to one topic until their connections end. What
// they write tells who wrote it and as the how-manyth.
type load struct {
	name    string
	topic   string
	writers []*writer
	group   sync.WaitGroup

	mu      sync.Mutex
	acks    int
	target  int // acks that reached waits for
	reached chan struct{}
}

// writer is one connection of a load. All is good to read after load.wait.
type writer struct {
	sent  int     // batches that may have left
	acked []int64 // offsets of the first batches, as acknowledged
	err   error   // why it ended
}

// newLoad starts n writers. Loads of one topic need different names.
func newLoad(addr, topic string, n int, name ...string) *load {
	l := &load{name: strings.Join(name, ""), topic: topic, reached: make(chan struct{})}
	for id := range n {
		w := new(writer)
		l.writers = append(l.writers, w)
		l.group.Go(func() { w.err = l.write(addr, id, w) })
	}
	return l
}

// batch is what a writer writes as its seq-th.
func (l *load) batch(id, seq int) string {
	bodies := make([]string, 1+seq%3)
	for i := range bodies {
		bodies[i] = strings.Repeat("\r\nMSG", (id+seq+i)%7)
	}
	bodies[0] = fmt.Sprintf("%s/%d/%d", l.name, id, seq)
	return encode(l.topic, bodies...)
}

// write sends some batches at once, awaits their answers, and again.
func (l *load) write(addr string, id int, w *writer) error {
	c, err := connect(addr)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		burst := 1 + (id+w.sent)%9
		var text strings.Builder
		for i := range burst {
			text.WriteString(l.batch(id, w.sent+i))
		}
		w.sent += burst
		if err := c.send(text.String()); err != nil {
			return err
		}
		for range burst {
			offset, _, err := c.offset()
			if err != nil {
				return err
			}
			l.ack(w, offset)
		}
	}
}

func (l *load) ack(w *writer, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.acked = append(w.acked, offset)
	l.acks++
	if l.acks == l.target {
		close(l.reached)
	}
}

// awaitAcks waits until n batches in all are acknowledged.
func (l *load) awaitAcks(t testing.TB, n int) {
	t.Helper()
	l.mu.Lock()
	l.target, l.reached = n, make(chan struct{})
	if l.acks >= n {
		close(l.reached)
	}
	reached := l.reached
	l.mu.Unlock()
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatalf("after %v fewer than %d batches are acknowledged", patience, n)
	}
}

// acked returns how many batches of each writer are acknowledged by now.
func (l *load) acked() (counts []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.writers {
		counts = append(counts, len(w.acked))
	}
	return counts
}

// wait waits until all writers have ended.
func (l *load) wait() { l.group.Wait() }

// ended reports whether err is an end of a connection that a server which ends
// may bring about.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, refusal("shutting down"))
}

// check compares what is stored with what this load did.
func (l *load) check(stored []batch) []string { return checkLoads(stored, l) }

// checkLoads reports what is stored and should not be, and the reverse:
//   - of each writer there are its first batches, in order, once each, as it
//     sent them;
//   - those that were acknowledged are among them, at the offsets that were
//     answered;
//   - nothing else is there.
func checkLoads(stored []batch, loads ...*load) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	type key struct {
		load string
		id   int
	}
	writers := make(map[key]*writer)
	byName := make(map[string]*load)
	for _, l := range loads {
		byName[l.name] = l
		for id, w := range l.writers {
			writers[key{l.name, id}] = w
			if !ended(w.err) {
				report("writer %s/%d ended with %v", l.name, id, w.err)
			}
		}
	}
	count := make(map[key]int)
	for _, b := range stored {
		name, rest, _ := strings.Cut(b.messages[0].body, "/")
		var id, seq int
		_, err := fmt.Sscanf(rest, "%d/%d", &id, &seq)
		k := key{name, id}
		w := writers[k]
		switch {
		case err != nil || w == nil || seq >= w.sent || b.wire != byName[name].batch(id, seq):
			report("the batch at %d is nobody's: %q", b.offset, b.wire)
			continue
		case seq != count[k]:
			report("batch %d of writer %s/%d, at %d, comes after %d of its batches", seq, name, id, b.offset, count[k])
		case seq < len(w.acked) && w.acked[seq] != b.offset:
			report("batch %d of writer %s/%d is at %d, it was acknowledged at %d", seq, name, id, b.offset, w.acked[seq])
		case seq == len(w.acked) && errors.As(w.err, new(refusal)):
			report("batch %d of writer %s/%d was answered %v, but is stored at %d", seq, name, id, w.err, b.offset)
		}
		count[k] = max(count[k], seq+1)
	}
	for k, w := range writers {
		if count[k] < len(w.acked) {
			report("lost: %d batches of writer %s/%d are acknowledged, %d are stored", len(w.acked), k.load, k.id, count[k])
		}
	}
	return problems
}

// follow reads a topic from its beginning until the server ends the
// connection. A half answer is an error.
func follow(addr, topic string) (all []batch, err error) {
	c, err := connect(addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	for offset := int64(0); ; {
		if err := c.send(fmt.Sprintf("READ %s %d 50 wait=60000\r\n", topic, offset)); err != nil {
			if ended(err) {
				return all, nil
			}
			return all, err
		}
		_, batches, err := c.batches()
		all = append(all, batches...)
		if err != nil {
			if ended(err) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return all, nil
			}
			return all, err
		}
		for _, b := range batches {
			offset = b.end()
		}
	}
}

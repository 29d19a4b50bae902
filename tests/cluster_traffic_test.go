package tests

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic is writers and readers of a cluster, over raw connections, and what they were
// told.
type traffic struct {
	c       *cluster
	topics  []string
	begun   time.Time
	stop    chan struct{}
	workers sync.WaitGroup

	writers []*sender
	readers []*follower
	program *program
	acks    []atomic.Int64 // by topic: how many there were
	wrong   atomic.Bool    // somebody was told what can't be: there is no need to wait for more
}

// trafficTopics are led, of eight groups, by different members.
var trafficTopics = []string{"t0", "t1", "t2", "t3"}

// writing says how the writers of traffic write.
type writing struct {
	topics []string
	plain  int  // how many of the eight writers have no numbers
	deep   bool // they always may have as many batches without an answer as is allowed
}

// usualWriting is that of tests to which it does not matter.
var usualWriting = writing{topics: trafficTopics, plain: 2}

// startTraffic starts eight writers, four readers, and a program with a Writer and a
// Scanner.
func startTraffic(c *cluster, r *rand.Rand, how writing) *traffic {
	topics := how.topics
	l := &traffic{c: c, topics: topics, begun: time.Now(), stop: make(chan struct{}), acks: make([]atomic.Int64, len(topics))}
	for i := range 8 {
		s := &sender{l: l, topic: i % len(l.topics), name: fmt.Sprintf("w%d", i), numbered: i < 8-how.plain, deep: how.deep, rng: rand.New(rand.NewPCG(r.Uint64(), 1))}
		l.writers = append(l.writers, s)
		l.workers.Go(s.run)
	}
	c.begun = l.begun
	l.program = startProgram(l, r)
	for i := range 4 {
		f := &follower{l: l, topic: l.topics[i%len(l.topics)], rng: rand.New(rand.NewPCG(r.Uint64(), 2))}
		l.readers = append(l.readers, f)
		l.workers.Go(f.run)
	}
	return l
}

func (l *traffic) now() int64 { return int64(time.Since(l.begun)) }

func (l *traffic) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// goesOn waits until each topic has so many more acknowledged batches.
func (l *traffic) goesOn(n int64) {
	l.c.t.Helper()
	var want []int64
	for i := range l.acks {
		want = append(want, l.acks[i].Load()+n)
	}
	l.c.eventually(fmt.Sprintf("%d more answers in each topic", n), func() bool {
		for i := range l.acks {
			if l.acks[i].Load() < want[i] {
				return l.wrong.Load()
			}
		}
		return true
	})
}

// end stops the load and returns its history.
func (l *traffic) end() *history {
	l.c.t.Helper()
	close(l.stop)
	l.workers.Wait()
	if l.wrong.Load() {
		l.program.cancel()
	}
	l.program.end()
	h := &history{stored: make(map[string][]found)}
	for _, s := range l.writers {
		for _, p := range s.problems {
			l.c.t.Errorf("writer %s: %s", s.name, p)
		}
		h.writes = append(h.writes, s.writes...)
	}
	for i, f := range l.readers {
		for _, p := range f.problems {
			l.c.t.Errorf("reader %d: %s", i, p)
		}
		h.reads = append(h.reads, f.seen)
		h.looks = append(h.looks, f.looks...)
	}
	return h
}

// gap returns the longest time without an answer in a topic, of those that overlap with
// the time between two points.
func (h *history) gap(topic string, from, to int64) time.Duration {
	var rets []int64
	for i := range h.writes {
		if w := &h.writes[i]; w.topic == topic && w.fate == acked {
			rets = append(rets, w.ret)
		}
	}
	slices.Sort(rets)
	longest := int64(0)
	for i := 1; i < len(rets); i++ {
		if rets[i] > from && rets[i-1] < to {
			longest = max(longest, rets[i]-rets[i-1])
		}
	}
	return time.Duration(longest)
}

// sender writes numbered batches, and sends each until it has an answer; or batches
// without numbers, each once.
type sender struct {
	l        *traffic
	topic    int
	name     string
	numbered bool
	deep     bool
	rng      *rand.Rand
	writes   []write
	answered int // of the numbered ones: all before it are acknowledged
	problems []string
}

func (s *sender) problem(format string, args ...any) {
	s.l.wrong.Store(true)
	if len(s.problems) < 5 {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

// wire returns the n-th batch, which is the same each time.
func (s *sender) wire(n int64) string {
	r := rand.New(rand.NewPCG(uint64(n), uint64(s.topic)))
	size := r.IntN(300)
	if r.IntN(50) == 0 {
		size = r.IntN(30000)
	}
	body := fmt.Sprintf("%s %d %s", s.name, n, strings.Repeat("x", size))
	data := fmt.Sprintf("MSG %d\r\n%s\r\n", len(body), body)
	envelope := fmt.Sprintf("BATCH %d %s %d 1", len(data), s.l.topics[s.topic], crc32.ChecksumIEEE([]byte(data)))
	if s.numbered {
		envelope += fmt.Sprintf(" pid=%s seq=%d", s.name, n)
	}
	return envelope + "\r\n" + data
}

// window is how many batches a writer has without an answer: most are few, so that there
// are many times at which all are answered.
func (s *sender) window() int {
	if s.deep || s.rng.IntN(10) == 0 {
		return 1 + s.rng.IntN(numberedWindow)
	}
	return 1 + s.rng.IntN(3)
}

func (s *sender) run() {
	at := router{c: s.l.c, rng: s.rng}
	for !s.l.stopped() {
		at.visit(func(nc net.Conn) (hint string, ok bool) { return s.use(nc, &at) })
	}
}

// use writes over a connection until it ends or something is refused. It returns where
// to go instead, if it was told.
func (s *sender) use(nc net.Conn, at *router) (hint string, ok bool) {
	in := bufio.NewReader(nc)
	for !s.l.stopped() {
		from := len(s.writes)
		if s.numbered {
			from = s.answered
		}
		to := from + s.window()
		var out strings.Builder
		for i := from; i < to; i++ {
			wire := s.wire(int64(i + 1))
			out.WriteString(wire)
			if i == len(s.writes) {
				s.writes = append(s.writes, write{topic: s.l.topics[s.topic], writer: s.name, n: int64(i + 1), seq: s.numbered, sum: sum(wire)})
			}
		}
		now := s.l.now()
		for i := from; i < to; i++ {
			if s.writes[i].call == 0 {
				s.writes[i].call = now
			}
		}
		nc.SetDeadline(time.Now().Add(s.l.c.et * 3 / 2))
		if _, err := io.WriteString(nc, out.String()); err != nil {
			return "", ok
		}
		failed := false
		for i := from; i < to; i++ {
			line, err := in.ReadString('\n')
			if err != nil {
				return "", ok
			}
			w := &s.writes[i]
			reason, isErr := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "ERR ")
			if !isErr {
				ok = true
				at.well()
				if !s.acked(w, i, line) {
					return "", ok
				}
				continue
			}
			if !s.numbered {
				w.fate, w.ret = refusedIt, s.l.now()
			}
			next, isOrder := strings.CutPrefix(reason, "out of order ")
			switch {
			case isOrder && s.numbered:
				if n, err := strconv.ParseInt(next, 10, 64); err != nil || !failed || n <= int64(s.answered) || n > w.n {
					s.problem("number %d to %s at %v, with all up to %d acknowledged, an error before it: %v: %q", w.n, at.addr, time.Since(s.l.begun), s.answered, failed, line)
					return "", false
				}
			case strings.HasPrefix(reason, "not leader"):
				if !failed {
					hint = strings.TrimPrefix(strings.TrimPrefix(reason, "not leader"), " ")
				}
			case reason == "busy" || reason == "shutting down" || reason == "read only":
			default:
				s.problem("number %d: %q", w.n, line)
				return "", false
			}
			failed = true
		}
		if failed {
			return hint, ok
		}
	}
	return "", ok
}

// acked takes an answer that is no error.
func (s *sender) acked(w *write, i int, line string) bool {
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != "OK" || words[2] != "1" {
		s.problem("number %d: answer %q", w.n, line)
		return false
	}
	offset, err := decimal(words[1])
	if err != nil || w.fate == acked && w.offset != offset {
		s.problem("number %d: answer %q, and it was %d", w.n, line, w.offset)
		return false
	}
	w.fate, w.ret, w.offset = acked, s.l.now(), offset
	if i == s.answered {
		s.answered++
	}
	s.l.acks[s.topic].Add(1)
	return true
}

// router finds the member to talk to: the one that was hinted at, else the next.
type router struct {
	c     *cluster
	rng   *rand.Rand
	addr  string
	pause time.Duration
}

// well is called when a member has done what was asked.
func (r *router) well() { r.pause = 0 }

// visit connects and calls use. After it the address is that of the hint, or another
// one's.
func (r *router) visit(use func(nc net.Conn) (hint string, ok bool)) {
	addrs := r.c.addrs()
	if r.addr == "" {
		r.addr = addrs[r.rng.IntN(len(addrs))]
	}
	hint := ""
	if nc, err := dialFor(r.c.net, r.addr, r.c.et); err == nil {
		hint, _ = use(nc)
		nc.Close()
	}
	if hint != "" && hint != r.addr {
		r.addr = hint
	} else {
		r.addr = addrs[(slices.Index(addrs, r.addr)+1)%len(addrs)]
	}
	if r.pause > 0 {
		time.Sleep(time.Duration(r.rng.Int64N(int64(r.pause))))
	}
	r.pause = min(max(2*r.pause, 5*time.Millisecond), r.c.et/2)
}

// follower reads a topic from its beginning on, and goes to another member now and then.
type follower struct {
	l        *traffic
	topic    string
	rng      *rand.Rand
	next     int64
	at       string // the member that it asks
	seen     []reading
	looks    []look
	problems []string
}

func (f *follower) problem(format string, args ...any) {
	f.l.wrong.Store(true)
	if len(f.problems) < 5 {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

func (f *follower) run() {
	at := router{c: f.l.c, rng: f.rng}
	for !f.l.stopped() {
		at.visit(func(nc net.Conn) (hint string, ok bool) { return f.use(nc, &at) })
	}
}

// use reads over a connection.
func (f *follower) use(nc net.Conn, at *router) (hint string, ok bool) {
	c := &conn{in: bufio.NewReader(nc)}
	f.at = nc.RemoteAddr().String()
	ask := func(format string, args ...any) error {
		nc.SetDeadline(time.Now().Add(200*time.Millisecond + 2*f.l.c.et))
		_, err := fmt.Fprintf(nc, format+"\r\n", args...)
		return err
	}
	for range 1 + f.rng.IntN(40) {
		if f.l.stopped() {
			return "", ok
		}
		var err error
		if f.rng.IntN(5) == 0 {
			err = f.look(c, ask)
		} else {
			err = f.read(c, ask)
		}
		var r refusal
		switch {
		case err == nil:
			ok = true
			at.well()
		case errors.As(err, &r) && strings.HasPrefix(string(r), "not leader"):
			return strings.TrimPrefix(strings.TrimPrefix(string(r), "not leader"), " "), ok
		case errors.As(err, &r) && r != "busy" && r != "shutting down":
			f.problem("at %d: %v", f.next, err)
			return "", false
		default:
			return "", ok
		}
	}
	return "", ok
}

// read reads what comes next, or waits for it.
func (f *follower) read(c *conn, ask func(string, ...any) error) error {
	wait := ""
	if f.rng.IntN(2) == 0 {
		wait = " wait=100"
	}
	if err := ask("READ %s %d %d%s", f.topic, f.next, 1+f.rng.IntN(200), wait); err != nil {
		return err
	}
	offset, n, err := c.offset()
	if err == refusal("not found") {
		// So this member's end is there: it may not say that of what it can't know.
		if err := ask("INFO %s", f.topic); err != nil {
			return err
		}
		body, err := c.body()
		if err == refusal("not found") {
			if f.next > 0 {
				f.problem("a member says that the topic is not found, of which %d bytes were read", f.next)
			}
			return nil
		}
		if err != nil {
			return err // the answer may come yet: what is asked next would be taken to have it
		}
		if next, err := decimal(fields(body)["Next"]); err != nil || next < f.next {
			f.problem("nothing is found at %d, says a member whose end is %s", f.next, fields(body)["Next"])
		}
		return nil
	}
	if err != nil {
		return err
	}
	if offset != f.next {
		f.problem("READ %d is answered with %d", f.next, offset)
	}
	for range n {
		b, err := readBatch(c.in, f.next)
		if err != nil {
			var ne net.Error
			if !errors.As(err, &ne) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				f.problem("%v", err)
			}
			return err
		}
		f.seen = append(f.seen, reading{f.topic, b.offset, int64(len(b.wire)), sum(b.wire), f.l.now()})
		f.next = b.end()
	}
	return nil
}

// look asks for the end of the topic with fresh=1.
func (f *follower) look(c *conn, ask func(string, ...any) error) error {
	call := f.l.now()
	if err := ask("INFO %s fresh=1", f.topic); err != nil {
		return err
	}
	body, err := c.body()
	if err == refusal("not found") {
		f.looks = append(f.looks, look{f.topic, call, f.l.now(), 0, f.at})
		return nil
	}
	if err != nil {
		return err
	}
	next, err := decimal(fields(body)["Next"])
	if err != nil {
		f.problem("INFO: %v", err)
		return nil
	}
	f.looks = append(f.looks, look{f.topic, call, f.l.now(), next, f.at})
	return nil
}

// founds are the batches that are stored, as a history has them.
func founds(t testing.TB, batches []batch) (all []found) {
	t.Helper()
	for _, b := range batches {
		if len(b.messages) != 1 {
			t.Fatalf("the batch at %d has %d messages", b.offset, len(b.messages))
		}
		writer, rest, _ := strings.Cut(b.messages[0].body, " ")
		number, _, _ := strings.Cut(rest, " ")
		n, err := decimal(number)
		if err != nil {
			t.Fatalf("the batch at %d is nobody's: %.40q", b.offset, b.messages[0].body)
		}
		all = append(all, found{b.offset, int64(len(b.wire)), writer, n, sum(b.wire)})
	}
	return all
}

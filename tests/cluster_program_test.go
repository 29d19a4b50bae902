package tests

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd"
)

// program writes numbered messages with a Writer and reads them with a Scanner, each with
// a Client of its own that finds the members by itself.
type program struct {
	c       *cluster
	ctx     context.Context
	cancel  context.CancelFunc
	writer  sync.WaitGroup
	scanner sync.WaitGroup
	clients []*logd.Client

	mu       sync.Mutex
	at       []int64 // of each message: its offset, -1 if that is not known, -2 without an answer
	read     []place
	problems []string
	wrong    *atomic.Bool // the traffic's
}

// programTopic is the program's own.
const programTopic = "program"

// startProgram starts it. The Writer writes until the traffic is stopped.
func startProgram(l *traffic, r *rand.Rand) *program {
	c, stop := l.c, l.stop
	p := &program{c: c, wrong: &l.wrong}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	c.t.Cleanup(p.close)
	for range 2 {
		client, err := logd.NewClient(logd.ClientConfig{
			Addrs: c.addrs(), ReconnectMin: 5 * time.Millisecond, ReconnectMax: c.et / 2, ReconnectAttempts: logd.Unlimited,
			Dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return c.net.dial(ctx, addr) },
		})
		if err != nil {
			c.t.Fatal(err)
		}
		p.clients = append(p.clients, client)
	}
	inFlight := 1 + r.IntN(16)
	p.writer.Go(func() { p.write(inFlight, stop) })
	p.scanner.Go(p.scan)
	return p
}

func (p *program) problem(format string, args ...any) {
	if p.ctx.Err() != nil {
		return // it was told to end
	}
	p.wrong.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.problems) < 5 {
		p.problems = append(p.problems, fmt.Sprintf(format, args...))
	}
}

func (p *program) write(inFlight int, stop <-chan struct{}) {
	w, err := logd.NewWriter(p.ctx, p.clients[0], programTopic, logd.WriterConfig{
		BatchMessages: 5, BatchAge: time.Millisecond, InFlight: inFlight, WhenFull: logd.Block, Patience: logd.Unlimited,
	})
	if err != nil {
		p.problem("NewWriter: %v", err)
		return
	}
	slots := make(chan struct{}, 100) // how many messages wait for their answer
	for n := 0; ; n++ {
		select {
		case <-stop:
			ctx, cancel := context.WithTimeout(p.ctx, patience)
			defer cancel()
			if err := w.CloseContext(ctx); err != nil {
				p.problem("Close of the Writer: %v", err)
			}
			if d := w.Stats().InDoubt; d > 0 {
				p.problem("the Writer has %d messages in doubt", d)
			}
			return
		case slots <- struct{}{}:
		}
		p.mu.Lock()
		p.at = append(p.at, -2)
		p.mu.Unlock()
		err := w.WriteFunc(p.ctx, []byte(strconv.Itoa(n)), func(r logd.WriteResult) {
			<-slots
			if r.Err != nil {
				p.problem("message %d: %v", n, r.Err)
				return
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.at[n] = r.Offset
		})
		if err != nil {
			p.problem("Write of message %d: %v", n, err)
			return
		}
	}
}

func (p *program) scan() {
	s, err := logd.NewScanner(p.ctx, p.clients[1], programTopic, logd.ScannerConfig{Follow: true, AwaitTopic: true})
	if err != nil {
		p.problem("NewScanner: %v", err)
		return
	}
	defer s.Close()
	for {
		m, err := s.Next(p.ctx)
		if err != nil {
			if p.ctx.Err() == nil {
				p.problem("the Scanner ends: %v", err)
			}
			return
		}
		p.mu.Lock()
		p.read = append(p.read, place{m.Offset, message{m.Delta, string(m.Body)}})
		p.mu.Unlock()
	}
}

// end waits until the Writer has delivered everything and the Scanner has read it, and
// checks what they were told: each message is stored once, in order, where the Writer was
// told, and was read once, in order.
func (p *program) end() {
	t := p.c.t
	t.Helper()
	late := time.AfterFunc(patience, func() { // or a Write would wait for ever that nobody takes
		p.problem("the Writer has not ended after %v", patience)
		p.cancel()
	})
	p.writer.Wait()
	late.Stop()
	p.c.eventually("the Scanner has read what the Writer has written", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.read) >= len(p.at) || len(p.problems) > 0 || p.ctx.Err() != nil
	})
	p.close()
	for i, m := range p.read {
		if m.body != strconv.Itoa(i) {
			t.Errorf("the Scanner has read %v as the %d-th message", m, i)
			break
		}
		if i < len(p.at) && p.at[i] >= 0 && p.at[i] != m.offset {
			t.Errorf("the Scanner has read %v, and the Writer was told %d", m, p.at[i])
			break
		}
	}
	if len(p.read) > len(p.at) {
		t.Errorf("%d messages were read, %d written", len(p.read), len(p.at))
	}
	for _, problem := range p.problems {
		t.Errorf("program: %s", problem)
	}
}

func (p *program) close() {
	p.cancel()
	p.writer.Wait()
	p.scanner.Wait()
	for _, c := range p.clients {
		c.Close()
	}
	p.clients = nil
}

// stored compares the final read of the topic with what the Scanner has read.
func (p *program) stored(batches []batch) {
	in := places(batches)
	for i := range max(len(in), len(p.read)) {
		if i >= len(in) || i >= len(p.read) || in[i] != p.read[i] {
			p.c.t.Errorf("message %d of %d that are stored is another one than was read, of %d", i, len(in), len(p.read))
			return
		}
	}
}

package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/progress"
)

// TestSoak kills the server again and again under a program that writes through
// a Writer with a backlog on disk and one that follows through a Scanner with a
// state in a file, both of which are restarted, too: what was acknowledged or kept is
// stored once, in order, and all that is stored is delivered in order, and again only
// where a restart says so.
func TestSoak(t *testing.T) {
	t.Parallel()
	kills := int(setting(t, "LOGD_SOAK_KILLS", 6))
	for _, inFlight := range []int{1, 8} {
		t.Run(fmt.Sprintf("inFlight=%d", inFlight), func(t *testing.T) {
			t.Parallel()
			r := random(t)
			dir := filepath.Join(t.TempDir(), "data")
			keep := []string{"--partitions", "100000"}
			s := start(t, dir, keep...)
			var addr atomic.Value // where the server is now
			addr.Store(s.addr)
			cfg := logd.ClientConfig{
				Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, addr.Load().(string))
				},
				ReconnectMin: time.Millisecond, ReconnectMax: 20 * time.Millisecond, ReconnectAttempts: logd.Unlimited,
			}
			p := &soakProducer{t: t, client: cfg, inFlight: inFlight, path: filepath.Join(t.TempDir(), "backlog"), r: rand.New(rand.NewPCG(r.Uint64(), 1))}
			c := &soakConsumer{t: t, client: cfg, path: filepath.Join(t.TempDir(), "state"), r: rand.New(rand.NewPCG(r.Uint64(), 2))}
			var programs sync.WaitGroup
			killed, written := make(chan struct{}), make(chan struct{})
			end := sync.OnceFunc(func() { close(killed); programs.Wait() })
			defer end()
			programs.Go(func() { p.run(killed); close(written) })
			programs.Go(func() { c.run(written) })
			for range kills {
				time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
				s.kill()
				time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
				s = start(t, dir, append(slices.Clone(keep),
					"--partition-size", []string{"64KiB", "100MiB"}[r.IntN(2)], "--flush-batches", strconv.Itoa(r.IntN(2)))...)
				addr.Store(s.addr)
			}
			end()
			in := places(stored(t, s.addr, "t"))
			s.stop()
			for _, problem := range checkSoak(p, c.lives, in) {
				t.Error(problem)
			}
			delivered := 0
			for _, l := range c.lives {
				delivered += len(l.messages)
			}
			t.Logf("%d messages: %d acknowledged, %d kept in the backlog, %d refused; %d stored, of %d it was unknown; %d Writers; %d Scanners with %d messages",
				len(p.fates), p.count(wasAcked), p.count(wasKept), p.count(wasRefused), len(in), p.unknown, p.lives, len(c.lives), delivered)
			if !t.Failed() {
				soakControl(t, p, c.lives, in)
			}
		})
	}
}

// fate is what the program was told of a message.
type fate struct {
	kind          int
	offset, delta int64
}

const (
	untold     = iota
	wasAcked   // stored, at offset and delta
	wasKept    // in the backlog
	wasRefused // not taken
)

// soakProducer writes the numbers from 0 on.
type soakProducer struct {
	t        *testing.T
	client   logd.ClientConfig
	inFlight int
	path     string
	r        *rand.Rand
	lives    int

	mu      sync.Mutex
	fates   []fate
	unknown int64 // messages of batches that failed and may be stored
}

// failure counts what may be stored more than once.
func (p *soakProducer) failure(err error) {
	batch, ok := errors.AsType[*logd.BatchError](err)
	if !ok {
		return
	}
	if !batch.Kept {
		p.t.Errorf("a batch is lost: %v", err)
	}
	if logd.IsUnknown(err) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unknown += batch.Messages
	}
}

func (p *soakProducer) count(kind int) (n int) {
	for _, f := range p.fates {
		if f.kind == kind {
			n++
		}
	}
	return n
}

// run is one process after another that writes, until over; the last one ends
// when all is delivered.
func (p *soakProducer) run(over chan struct{}) {
	for last := false; !last; p.lives++ {
		last = p.live(over)
	}
}

// live is one of the processes, and reports whether it was the last one.
func (p *soakProducer) live(over chan struct{}) (last bool) {
	backlog, err := backlog.OpenDisk(backlog.DiskConfig{Path: p.path, NoSync: true})
	if err != nil {
		p.t.Error(err)
		return true
	}
	defer backlog.Close()
	client, err := logd.NewClient(p.client)
	if err != nil {
		p.t.Error(err)
		return true
	}
	defer client.Close()
	cfg := logd.WriterConfig{
		BatchMessages: int64(1 + p.r.IntN(20)), BatchAge: time.Millisecond, InFlight: p.inFlight,
		Backlog: backlog, OnError: p.failure, WriteWhileFailing: p.r.IntN(2) == 0,
	}
	w, err := logd.NewWriter(p.t.Context(), client, "t", cfg)
	for begun := time.Now(); logd.IsRetryable(err) && time.Since(begun) < patience; {
		time.Sleep(time.Millisecond)
		w, err = logd.NewWriter(p.t.Context(), client, "t", cfg)
	}
	if err != nil {
		p.t.Error(err)
		return true
	}
	for range 500 + p.r.IntN(3000) {
		select {
		case <-over:
			ctx, cancel := context.WithTimeout(p.t.Context(), patience)
			defer cancel()
			if err := w.CloseContext(ctx); err != nil {
				p.t.Errorf("Close: %v", err)
			}
			if n := backlog.Len(); n > 0 {
				p.t.Errorf("%d batches stay in the backlog", n)
			}
			return true
		default:
		}
		p.write(w)
	}
	// It gives up what is not delivered, to the next one.
	ctx, cancel := context.WithCancel(p.t.Context())
	cancel()
	w.CloseContext(ctx)
	return false
}

func (p *soakProducer) write(w *logd.Writer) {
	p.mu.Lock()
	n := len(p.fates)
	p.fates = append(p.fates, fate{})
	p.mu.Unlock()
	told := func(f fate) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.fates[n].kind != untold {
			p.t.Errorf("message %d: the program is told twice", n)
		}
		p.fates[n] = f
	}
	err := w.WriteFunc(p.t.Context(), []byte(soakBody(n)), func(r logd.WriteResult) {
		switch {
		case r.Err == nil:
			told(fate{wasAcked, r.Offset, r.Delta})
		case errors.Is(r.Err, logd.ErrBacklogged):
			told(fate{kind: wasKept})
		default:
			p.t.Errorf("message %d: %v", n, r.Err)
		}
	})
	if err != nil {
		if !logd.IsNotStored(err) {
			p.t.Errorf("message %d: %v", n, err)
		}
		told(fate{kind: wasRefused})
		time.Sleep(time.Millisecond)
	} else if n%64 == 0 {
		time.Sleep(time.Duration(p.r.IntN(2000)) * time.Microsecond)
	}
}

// life is what one process that reads has delivered.
type life struct {
	messages  []place
	completed int  // of messages: those before are completed
	crashed   bool // its state is what the file had at some moment
}

// soakConsumer reads, in one process after another.
type soakConsumer struct {
	t      *testing.T
	client logd.ClientConfig
	path   string
	r      *rand.Rand
	lives  []life
}

// run follows until over, and then reads to the end of the log.
func (c *soakConsumer) run(over chan struct{}) {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	go func() {
		<-over
		cancel()
	}()
	for ctx.Err() == nil {
		c.live(ctx, 200+c.r.IntN(4000), logd.ScannerConfig{Follow: true, AwaitTopic: true})
	}
	c.live(c.t.Context(), 1<<62, logd.ScannerConfig{})
}

// live delivers up to n messages and ends in order, or crashes.
func (c *soakConsumer) live(ctx context.Context, n int, cfg logd.ScannerConfig) {
	state, err := progress.OpenFile(progress.FileConfig{Path: c.path, Sync: progress.SyncOnClose})
	if err != nil {
		c.t.Error(err)
		return
	}
	client, err := logd.NewClient(c.client)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer client.Close()
	cfg.Progress = state
	scanner, err := logd.NewScanner(ctx, client, "t", cfg)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer scanner.Close()
	l := life{crashed: c.r.IntN(2) == 0}
	lag := c.r.IntN(30) // messages that are worked on at once
	complete := func(upTo int) {
		for ; l.completed < upTo; l.completed++ {
			m := l.messages[l.completed]
			if err := state.Done(logd.ID{Offset: m.offset, Delta: m.delta}, nil); err != nil {
				c.t.Error(err)
			}
		}
	}
	for len(l.messages) < n {
		m, err := scanner.Next(ctx)
		if err != nil {
			break
		}
		l.messages = append(l.messages, place{m.Offset, message{m.Delta, string(m.Body)}})
		complete(len(l.messages) - lag)
	}
	if err := scanner.Err(); err != nil && ctx.Err() == nil {
		c.t.Errorf("the Scanner ends: %v", err)
	}
	if !l.crashed {
		complete(len(l.messages) - c.r.IntN(lag+1))
		if err := state.Close(); err != nil {
			c.t.Error(err)
		}
	}
	c.lives = append(c.lives, l)
}

// place is a message where it is.
type place struct {
	offset int64
	message
}

func (p place) String() string { return fmt.Sprintf("%q at %d.%d", p.body, p.offset, p.delta) }

func soakBody(n int) string { return strconv.Itoa(n) + strings.Repeat(" filler", n%13) }

// number returns as the how-manyth the producer has written the message, -1 if
// it has not.
func (p place) number() int {
	word, _, _ := strings.Cut(p.body, " ")
	n, err := strconv.Atoi(word)
	if err != nil || n < 0 || p.body != soakBody(n) {
		return -1
	}
	return n
}

func places(batches []batch) (all []place) {
	for _, b := range batches {
		for _, m := range b.messages {
			all = append(all, place{b.offset, m})
		}
	}
	return all
}

// checkSoak compares what the programs were told with what is stored, and
// returns what does not agree.
func checkSoak(p *soakProducer, lives []life, in []place) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	copies := make([][]place, len(p.fates))
	newest := -1
	for _, m := range in {
		n := m.number()
		if n < 0 || n >= len(copies) {
			report("nobody's: %v", m)
			continue
		}
		if len(copies[n]) == 0 {
			if n < newest {
				report("message %d is stored behind %d", n, newest)
			}
			newest = n
		}
		copies[n] = append(copies[n], m)
	}
	tooMany := int64(0)
	for n, f := range p.fates {
		c := copies[n]
		switch {
		case f.kind == untold:
			report("message %d: the program was told nothing", n)
		case f.kind == wasRefused && len(c) > 0:
			report("message %d was not taken, and is stored: %v", n, c)
		case f.kind == wasKept && len(c) == 0:
			report("message %d was kept, and is not stored", n)
		case f.kind == wasAcked && (len(c) != 1 || c[0].offset != f.offset || c[0].delta != f.delta):
			report("message %d was acknowledged at %d.%d, and is stored as %v", n, f.offset, f.delta, c)
		}
		tooMany += int64(max(len(c)-1, 0))
	}
	if tooMany > 0 {
		report("%d messages are stored more than once", tooMany)
	}

	at := make(map[place]int, len(in)) // where in the log
	for i, m := range in {
		at[m] = i
	}
	done := 0      // messages in the log that are completed
	exact := false // the state is as it was left
	for i, l := range lives {
		for j, m := range l.messages {
			k, ok := at[m]
			switch {
			case !ok:
				report("reader %d delivers what is not stored: %v", i, m)
			case j > 0 && k != at[l.messages[j-1]]+1:
				report("reader %d delivers message %d of the log after message %d", i, k, at[l.messages[j-1]])
			case j == 0 && k != done && (exact || k > done || done < len(in) && m.offset != in[done].offset):
				report("reader %d begins at message %d of the log, and those before %d are completed", i, k, done)
			}
		}
		if n := len(l.messages); n > 0 {
			done = at[l.messages[0]] + l.completed
			exact = !l.crashed
			if i == len(lives)-1 && at[l.messages[n-1]] != len(in)-1 {
				report("the last reader ends at message %d of %d in the log", at[l.messages[n-1]], len(in))
			}
		} else if i == len(lives)-1 && done != len(in) {
			report("the last reader delivers nothing, and %d of %d messages are completed", done, len(in))
		}
	}
	return problems
}

// soakControl changes what is good in each way that checkSoak is there to find.
func soakControl(t *testing.T, p *soakProducer, lives []life, in []place) {
	t.Helper()
	a := slices.IndexFunc(in, func(m place) bool { return p.fates[m.number()].kind == wasAcked })
	long := slices.IndexFunc(lives, func(l life) bool { return len(l.messages) > 2 })
	if a < 0 || long < 0 {
		t.Fatal("nothing was acknowledged, or delivered")
	}
	last := len(lives) - 1
	for len(lives[last].messages) < 2 {
		last--
	}
	early := slices.Clone(lives[:last+1])
	early[last].messages = early[last].messages[:len(early[last].messages)-1]
	withLife := func(change func(l *life)) []life {
		lives := slices.Clone(lives)
		lives[long].messages = slices.Clone(lives[long].messages)
		change(&lives[long])
		return lives
	}
	for name, c := range map[string]struct {
		lives []life
		in    []place
	}{
		"a message is lost":                 {lives, slices.Delete(slices.Clone(in), a, a+1)},
		"a message is stored twice":         {lives, append(slices.Clone(in), place{in[len(in)-1].offset + 1, in[a].message})},
		"a message is elsewhere":            {lives, append(append(slices.Clone(in[:a]), place{in[a].offset + 1, in[a].message}), in[a+1:]...)},
		"a message is nobody's":             {lives, append(slices.Clone(in), place{message: message{body: "x"}})},
		"a reader leaves a message out":     {withLife(func(l *life) { l.messages = slices.Delete(l.messages, 1, 2) }), in},
		"a reader delivers a message twice": {withLife(func(l *life) { l.messages = slices.Insert(l.messages, 1, l.messages[0]) }), in},
		"a reader exchanges two":            {withLife(func(l *life) { m := l.messages; m[0], m[1] = m[1], m[0] }), in},
		"the last reader ends too early":    {early, in},
	} {
		if len(checkSoak(p, c.lives, c.in)) == 0 {
			t.Errorf("not found: %s", name)
		}
	}
}

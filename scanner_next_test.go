package logd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// oneByOne is a script of a log whose batches have one message each, which are
// there when they are sent to the channel; it answers reads that wait.
func oneByOne(messages <-chan string) func(*script.Peer) {
	return func(p *script.Peer) {
		offset := 0
		for {
			r, ok := p.Request()
			line := r.Line
			if line == "CONFIG" {
				p.AnswerConfig(DefaultMaxBatchSize)
				continue
			}
			if !ok || !strings.HasPrefix(line, "READ t ") {
				return
			}
			m, ok := <-messages
			if !ok {
				p.AwaitClose()
				return
			}
			raw := stored("t", m)
			p.Answer("OK %d 1\r\n%s", offset, raw)
			offset += len(raw)
		}
	}
}

// A Scanner lives until it is closed, whatever becomes of the context that it was
// made with.
func TestScannerOutlivesItsConstructor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := make(chan string)
		_, cfg := fake(t, oneByOne(messages))
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s, err := NewScanner(ctx, c, "t", ScannerConfig{Start: AtOffset(0), Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Second)
		messages <- "late"
		if !s.Scan() || string(s.Message().Body) != "late" {
			t.Errorf("after 8s, the Scanner of a context of 5s: %v", s.Err())
		}
		close(messages)
		s.Close()
	})
}

// A Next whose context ends loses nothing: the next one has the message.
func TestScannerNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := make(chan string)
		s := fakeScanner(t, ScannerConfig{Start: AtOffset(0), Follow: true, Limit: 3}, oneByOne(messages))
		next := func(patience time.Duration) (string, error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			m, err := s.Next(ctx)
			return string(m.Body), err
		}
		for _, want := range []string{"a", "b", "c"} {
			if m, err := next(time.Second); !errors.Is(err, context.DeadlineExceeded) || m != "" {
				t.Errorf("before %s is there: %q, %v", want, m, err)
			}
			if s.End() != NotEnded || s.Err() != nil {
				t.Fatalf("the Scanner has ended: %v, %v", s.End(), s.Err())
			}
			messages <- want
			synctest.Wait()
			if m, err := next(0); !errors.Is(err, context.DeadlineExceeded) || m != "" {
				t.Errorf("%s is there, and the context has ended: %q, %v", want, m, err)
			}
			if m, err := next(time.Second); m != want || err != nil {
				t.Errorf("%q, %v, want %s", m, err, want)
			}
		}
		for range 2 {
			if m, err := next(time.Second); err != io.EOF || m != "" || s.End() != EndLimit {
				t.Errorf("at the end: %q, %v, %v", m, err, s.End())
			}
		}
		close(messages)
	})
}

// After Close and after a failure, Next returns what Err does.
func TestScannerNextFails(t *testing.T) {
	s := fakeScanner(t, ScannerConfig{Start: AtOffset(0)}, func(p *script.Peer) {
		p.Exchange("READ", "ERR unauthorized\r\n")
		p.AwaitClose()
	})
	for range 2 {
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrUnauthorized) || err != s.Err() {
			t.Errorf("%v, want %v", err, s.Err())
		}
	}
	s = fakeScanner(t, ScannerConfig{Start: AtOffset(0)}, (*script.Peer).AwaitClose)
	s.Close()
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// All goes on where a break has left off, and tells of an error once.
func TestScannerAll(t *testing.T) {
	script := func(end string) func(*script.Peer) {
		return func(p *script.Peer) {
			p.Exchange("READ", "OK 0 1\r\n"+stored("t", "a", "b", "c"))
			p.Exchange("READ", end)
			p.AwaitClose()
		}
	}
	next := len(stored("t", "a", "b", "c"))
	for _, tt := range []struct {
		end, want string
	}{
		{fmt.Sprintf("OK %d 0\r\n", next), "a | b c"},
		{"ERR unauthorized\r\n", "a | b c unauthorized"},
	} {
		s := fakeScanner(t, ScannerConfig{Start: AtOffset(0)}, script(tt.end))
		var got []string
		for m := range s.All(t.Context()) {
			got = append(got, string(m.Body), "|")
			break
		}
		for m, err := range s.All(t.Context()) {
			if err != nil {
				got = append(got, bare(err).Error())
			} else {
				got = append(got, string(m.Body))
			}
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// noted is a Progress that notes what it is told.
type noted struct{ told []string }

func (n *noted) Position() (Position, error) { return AtOffset(0), nil }

func (n *noted) note(format string, args ...any) error {
	n.told = append(n.told, fmt.Sprintf(format, args...))
	return nil
}

func (n *noted) Started(id ID) error              { return n.note("started %v", id) }
func (n *noted) BatchEnd(id ID, next int64) error { return n.note("end %v", id) }
func (n *noted) Done(id ID, err error) error      { return n.note("done %v %v", id, err) }

// A Scanner tells its Progress of each message and of the end of each batch, and
// Done of what becomes of a message. Without a Progress Done does nothing.
func TestScannerDone(t *testing.T) {
	script := func(p *script.Peer) {
		p.Exchange("READ", "OK 0 1\r\n"+stored("t", "a", "b"))
		p.AwaitClose()
	}
	var n noted
	s := fakeScanner(t, ScannerConfig{Progress: &n, Limit: 2}, script)
	var messages []Message
	for m, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m.Copy())
	}
	if len(messages) != 2 {
		t.Fatal(messages)
	}
	s.Close()
	if err := errors.Join(s.Done(messages[1], nil), s.Done(messages[0], errors.New("failed"))); err != nil {
		t.Error(err)
	}
	second := messages[1].ID().String()
	want := []string{"started 0.0", "started " + second, "end " + second, "done " + second + " <nil>", "done 0.0 failed"}
	if !slices.Equal(n.told, want) {
		t.Errorf("told %q, want %q", n.told, want)
	}
	s = fakeScanner(t, ScannerConfig{Start: AtOffset(0), Limit: 1}, script)
	if m, err := s.Next(t.Context()); err != nil || s.Done(m, nil) != nil {
		t.Errorf("without a Progress: %v", err)
	}
}

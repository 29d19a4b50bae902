package inputs

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// send sends to a stream input, and waits until the other side has closed the connection.
func send(t *testing.T, in *Input, data string) {
	t.Helper()
	nc := dial(t, in)
	if _, err := io.WriteString(nc, data); err != nil {
		t.Fatal(err)
	}
	closeWrite(t, nc)
	if got, err := io.ReadAll(nc); len(got) > 0 || err != nil {
		t.Errorf("it was told %q, %v", got, err)
	}
}

// show is a message with what is known of it.
func show(m feed.Message) string {
	text := string(m.Body)
	if m.Part > 0 {
		text = fmt.Sprintf("%d:%s", m.Part, text)
		if m.Last {
			text += "."
		}
	}
	return text
}

func shown(s *sink) (all []string) {
	for _, m := range s.messages() {
		all = append(all, show(m))
	}
	return all
}

func (s *sink) holes() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.sources {
		for _, h := range l.holes {
			all = append(all, fmt.Sprintf("%s %d messages %d bytes", h.Kind, h.Messages, h.Bytes))
		}
	}
	return all
}

func TestLines(t *testing.T) {
	for _, test := range []struct {
		name, send string
		long       lines.Long
		trim       bool
		taken      []string
		holes      []string
		split      int64
	}{
		{"lines", "a\n\nb\r\nc", lines.Split, false, []string{"a", "", "b\r", "c"}, nil, 0},
		{"trim", "a\r\n\r\nb\rc\r", lines.Split, true, []string{"a", "", "b\rc"}, nil, 0},
		{"split", "abcdefghijkl\nm\n", lines.Split, false, []string{"1:abcde", "2:fghij", "3:kl.", "m"}, nil, 1},
		{"truncate", "abcdefghijkl\nm\n", lines.Truncate, false, []string{"abcde", "m"}, []string{"too-long 0 messages 8 bytes"}, 0},
		{"skip", "abcdefghijkl\nm\n", lines.Skip, false, []string{"m"}, []string{"too-long 1 messages 13 bytes"}, 0},
	} {
		for _, from := range []string{"lines+tcp://127.0.0.1:0", "lines+unix:"} {
			t.Run(test.name+" "+from, func(t *testing.T) {
				if strings.HasSuffix(from, ":") {
					from += socketPath(t)
				}
				var s sink
				in, counters := start(t, from, &s, func(c *Config) { c.MaxLine, c.LongLines, c.TrimCR = 5, test.long, test.trim })
				send(t, in, test.send)
				equal(t, "taken", shown(&s), test.taken)
				equal(t, "holes", s.holes(), test.holes)
				if n := counters.LinesSplit.Load(); n != test.split {
					t.Errorf("%d lines were split", n)
				}
			})
		}
	}
}

// What has arrived when the input stops is taken, up to the last byte.
func TestLinesStop(t *testing.T) {
	room := make(chan struct{})
	s := &sink{room: room}
	in, counters := start(t, "lines+tcp://127.0.0.1:0", s, nil)
	nc := dial(t, in)
	var want []string
	for i := range 20000 {
		want = append(want, fmt.Sprint(i))
	}
	io.WriteString(nc, strings.Join(want, "\n"))
	eventually(t, "it is blocked", func() bool { return counters.Blocked.Total() > 0 })
	stopped := make(chan error)
	go func() { stopped <- in.Stop(t.Context()) }()
	<-in.stopping
	close(room)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	equal(t, "taken", s.bodies(), want)
	if !s.allClosed() {
		t.Error("a source is open")
	}
}

// One who never stops sending does not keep an input from stopping.
func TestLinesStopUnderLoad(t *testing.T) {
	var s sink
	in, _ := start(t, "lines+tcp://127.0.0.1:0", &s, nil)
	nc := dial(t, in)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := nc.Write([]byte("line\n")); err != nil {
				return
			}
		}
	}()
	eventually(t, "something came", func() bool { return len(s.messages()) > 0 })
	began := time.Now()
	stop(t, in)
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	<-ended
}

func TestStdin(t *testing.T) {
	for _, test := range []struct {
		name string
		file func(t *testing.T) *os.File
	}{
		{"pipe", func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				io.WriteString(w, "a\nb")
				time.Sleep(10 * time.Millisecond)
				io.WriteString(w, "c\nd")
				w.Close()
			}()
			return r
		}},
		{"file", func(t *testing.T) *os.File {
			name := t.TempDir() + "/f"
			if err := os.WriteFile(name, []byte("a\nbc\nd"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := test.file(t)
			defer f.Close()
			var s sink
			in, _ := start(t, "-", &s, func(c *Config) { c.Stdin = f })
			select {
			case <-in.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("it has not ended")
			}
			equal(t, "taken", s.bodies(), words("a bc d"))
			if !s.allClosed() || in.Addr() != nil {
				t.Error("its source is open, or it listens")
			}
		})
	}
}

// A stop ends the waiting for more, and takes what is there.
func TestStdinStop(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := &sink{room: make(chan struct{})}
	in, counters := start(t, "-", s, func(c *Config) { c.Stdin = r })
	io.WriteString(w, "a\n")
	eventually(t, "blocked", func() bool { return counters.Blocked.Total() > 0 })
	io.WriteString(w, "b\nc")
	stopped := make(chan error)
	go func() { stopped <- in.Stop(t.Context()) }()
	<-in.stopping
	close(s.room)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	equal(t, "taken", s.bodies(), words("a b c"))

	// Nothing is there.
	s = &sink{}
	in, _ = start(t, "stdin:", s, func(c *Config) { c.Stdin = r })
	stop(t, in)
	equal(t, "taken", s.bodies(), nil)
}

// However lines come in pieces, and whatever is changed meanwhile that does not change
// them, they are the same.
func TestLinesUpdate(t *testing.T) {
	var s sink
	in := bare(t, &s, Config{MaxLine: 10, Name: "n"})
	a, b := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in.serveLines(b, "")
	}()
	io.WriteString(a, "abcdefgh")
	c := *in.config.Load()
	c.MaxLine = 4
	if err := in.Update(c); err != nil {
		t.Fatal(err)
	}
	io.WriteString(a, "ij\nkl\n")
	c.MaxLine = 20
	in.Update(c)
	io.WriteString(a, "0123456789\n")
	a.Close()
	<-ended
	var all strings.Builder
	for _, m := range s.messages() {
		all.Write(m.Body)
		if m.Part == 0 || m.Last { // of a line: where it is split is of the time
			all.WriteByte('|')
		}
	}
	if got := all.String(); got != "abcdefghij|kl|0123456789|" {
		t.Errorf("taken %s", got)
	}
}

package top

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/logd-dev/logd"
)

// What a terminal is told: to show its other screen and no cursor, and back; to go to
// the top left; to clear the rest of a line, and of the screen.
const (
	enter     = "\x1b[?1049h\x1b[?25l"
	leave     = "\x1b[?25h\x1b[?1049l"
	home      = "\x1b[H"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

// screen is a terminal on which frames replace each other. close gives it back as it was.
type screen struct {
	in, out *os.File
	before  *term.State
	once    sync.Once
	failed  error // of writing
}

func openScreen(in, out *os.File) (*screen, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	s := &screen{in: in, out: out, before: before}
	s.write(enter)
	return s, nil
}

// close may be called again, also after a panic.
func (s *screen) close() {
	s.once.Do(func() {
		s.write(leave)
		term.Restore(int(s.in.Fd()), s.before)
	})
}

// closeIfPanics is deferred by goroutines that may panic.
func (s *screen) closeIfPanics() {
	if r := recover(); r != nil {
		s.close()
		panic(r)
	}
}

func (s *screen) write(text string) {
	if _, err := s.out.WriteString(text); err != nil {
		s.failed = err
	}
}

// key is what was typed.
type key int

const (
	keyOther key = iota
	keyQuit
	keySort
	keyUp
	keyDown
	keyPageUp
	keyPageDown
)

// parseKeys returns what was typed, of which b is one read.
func parseKeys(b []byte) (keys []key) {
	known := []struct {
		text string
		key  key
	}{
		{"\x1b[A", keyUp}, {"\x1bOA", keyUp}, {"\x1b[B", keyDown}, {"\x1bOB", keyDown}, {"\x1b[5~", keyPageUp}, {"\x1b[6~", keyPageDown},
		{"q", keyQuit}, {"Q", keyQuit}, {"\x03", keyQuit}, {"\x04", keyQuit}, {"s", keySort}, {"S", keySort}, {"k", keyUp}, {"j", keyDown},
	}
	for rest := string(b); rest != ""; {
		n, k := 1, keyOther
		for _, e := range known {
			if strings.HasPrefix(rest, e.text) {
				n, k = len(e.text), e.key
				break
			}
		}
		keys, rest = append(keys, k), rest[n:]
	}
	return keys
}

// run shows frames until the user has enough.
func (s *screen) run(ctx context.Context, client *logd.Client, v *view) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := make(chan key)
	// Nothing ends a read of a terminal: the goroutine ends with the process. It does
	// nothing that could panic.
	go func() {
		b := make([]byte, 64)
		for {
			n, err := s.in.Read(b)
			if err != nil {
				b, n = []byte("q"), 1 // the terminal is gone
			}
			for _, k := range parseKeys(b[:n]) {
				select {
				case keys <- k:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)

	taken := make(chan *view, 1)
	ask := func() {
		asking := *v
		go func() {
			defer s.closeIfPanics()
			asking.ask(ctx, client) // which keeps the error
			taken <- &asking
		}()
	}
	ask()
	var next <-chan time.Time
	for s.failed == nil {
		select {
		case took := <-taken:
			v.no, v.last, v.now, v.away = took.no, took.last, took.now, took.away
			if v.away != nil && !logd.IsRetryable(v.away) && ctx.Err() == nil {
				return v.away
			}
			// Rates need two samples: the second one comes soon.
			pause := v.interval
			if v.last == nil && v.away == nil {
				pause = min(pause, 500*time.Millisecond)
			}
			next = time.After(pause)
		case <-next:
			next = nil
			ask()
			continue
		case k := <-keys:
			if k == keyQuit {
				return nil
			}
			v.press(k, s.rows())
		case <-resized:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.show(v)
	}
	return s.failed
}

// press does what a key means.
func (v *view) press(k key, rows int) {
	switch k {
	case keySort:
		for i, o := range orders {
			if o == v.order {
				v.order = orders[(i+1)%len(orders)]
				break
			}
		}
		v.skip = 0
	case keyUp:
		v.skip--
	case keyDown:
		v.skip++
	case keyPageUp:
		v.skip -= rows
	case keyPageDown:
		v.skip += rows
	}
	most := 0
	if v.now != nil {
		most = max(len(v.now.topics)-1, 0)
	}
	v.skip = max(min(v.skip, most), 0)
}

// rows returns about how many topics there is room for.
func (s *screen) rows() int {
	_, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		height = 24
	}
	return max(height-6, 1)
}

// show replaces what is on the screen.
func (s *screen) show(v *view) {
	columns, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || columns <= 0 || height <= 0 {
		columns, height = width, 24
	}
	lines := v.frame().lines(columns)
	foot := cut("q quit  s sort  up/down scroll", columns)
	if len(lines) > height-1 {
		lines = lines[:max(height-1, 0)]
	}
	var b strings.Builder
	b.WriteString(home)
	for _, l := range lines {
		fmt.Fprintf(&b, "%s%s\r\n", l, clearLine)
	}
	fmt.Fprintf(&b, "%s%s%s", foot, clearLine, clearRest)
	s.write(b.String())
}

package logd_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/progress"
)

// messageName is a message's name.
type messageName struct{ offset, delta int64 }

func (n messageName) String() string { return fmt.Sprintf("%d.%d", n.offset, n.delta) }

func nameOf(m logd.Message) messageName { return messageName{m.Offset, m.Delta} }

// add appends a batch of the messages and returns its offset.
func add(t testing.TB, client *logd.Client, topic string, bodies ...string) int64 {
	t.Helper()
	var b logd.Batch
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	offset, err := client.Append(t.Context(), topic, &b)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// removed waits until no more than so many partitions of the topic are left,
// and describes it.
func removed(t testing.TB, client *logd.Client, topic string, partitions int64) logd.TopicInfo {
	t.Helper()
	for start := time.Now(); ; {
		info, err := client.Info(t.Context(), topic)
		switch {
		case err != nil:
			t.Fatal(err)
		case info.Partitions <= partitions && info.Oldest > 0:
			return info
		case time.Since(start) > 10*time.Second:
			t.Fatalf("%d partitions are left", info.Partitions)
		}
	}
}

// newScanner returns a Scanner that is closed at the test's end.
func newScanner(t testing.TB, client *logd.Client, topic string, cfg logd.ScannerConfig) *logd.Scanner {
	t.Helper()
	s, err := logd.NewScanner(t.Context(), client, topic, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// rest scans to the end and returns the bodies.
func rest(s *logd.Scanner) (bodies []string) {
	for s.Scan() {
		bodies = append(bodies, string(s.Message().Body))
	}
	return bodies
}

// reconnect waits until a client knows that the connection is gone which it had before
// a restart, and has another: what it sends over the old one may be lost.
func reconnect(t testing.TB, client *logd.Client) {
	t.Helper()
	testkit.Eventually(t, func() string {
		if err := client.Ping(t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})
}

// fill appends batches of one to three messages called 0, 1, 2, … and returns
// their names.
func fill(t testing.TB, client *logd.Client, topic string, from, to int) (names []messageName) {
	t.Helper()
	for i := from; i < to; {
		var b logd.Batch
		var deltas []int64
		for n := i%3 + 1; n > 0 && i < to; n-- {
			deltas = append(deltas, b.Add([]byte(fmt.Sprint(i))))
			i++
		}
		offset, err := client.Append(t.Context(), topic, &b)
		if err != nil {
			t.Fatal(err)
		}
		for _, delta := range deltas {
			names = append(names, messageName{offset, delta})
		}
	}
	return names
}

// numbers returns the bodies that fill makes.
func numbers(from, to int) (bodies []string) {
	for i := from; i < to; i++ {
		bodies = append(bodies, fmt.Sprint(i))
	}
	return bodies
}

// Every message has its name, whichever place the Scanner begins at, across
// partitions that hold a few batches each.
func TestScannerStarts(t *testing.T) {
	const n = 200
	server := logdtest.Start(t, logdtest.PartitionSize(200), logdtest.Partitions(1000))
	client := server.Client(t)
	names := fill(t, client, "t", 0, n)
	info, err := client.Info(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if info.Partitions < 20 {
		t.Fatalf("the topic has %d partitions only", info.Partitions)
	}
	for i := 0; i < n; i++ {
		for what, cfg := range map[string]logd.ScannerConfig{
			"at":    {Start: logd.At(logd.ID{Offset: names[i].offset, Delta: names[i].delta}), ReadBytes: 300},
			"after": {Start: logd.After(logd.ID{Offset: names[i].offset, Delta: names[i].delta}), Limit: 7},
		} {
			first, end := i, n
			if what == "after" {
				first, end = i+1, min(i+8, n)
			}
			s := newScanner(t, client, "t", cfg)
			for k := first; k < end; k++ {
				if !s.Scan() {
					t.Fatalf("%s %v: Scan ends before message %d: %v, %v", what, names[i], k, s.End(), s.Err())
				}
				if m := s.Message(); nameOf(m) != names[k] || string(m.Body) != fmt.Sprint(k) {
					t.Fatalf("%s %v: message %v %q, want %v %d", what, names[i], nameOf(m), m.Body, names[k], k)
				}
			}
			want := logd.EndOfLog
			if end-first == 7 && what == "after" {
				want = logd.EndLimit
			}
			if s.Scan() || s.End() != want || s.Err() != nil {
				t.Errorf("%s %v: end %v, %v, want %v", what, names[i], s.End(), s.Err(), want)
			}
			if m := s.Message(); m.Body != nil {
				t.Errorf("a message after the end: %v", m)
			}
			s.Close()
		}
	}
	if got := rest(newScanner(t, client, "t", logd.ScannerConfig{})); !slices.Equal(got, numbers(0, n)) {
		t.Errorf("from the oldest: %q", got)
	}
	if got := rest(newScanner(t, client, "t", logd.ScannerConfig{Start: logd.AtTime(info.OldestTime)})); !slices.Equal(got, numbers(0, n)) {
		t.Errorf("by time: %q", got)
	}
	s := newScanner(t, client, "t", logd.ScannerConfig{Start: logd.AtTime(info.NewestTime.Add(time.Hour))})
	if got := rest(s); got != nil || s.End() != logd.EndOfLog {
		t.Errorf("from a time to come: %q, %v", got, s.End())
	}
	s = newScanner(t, client, "t", logd.ScannerConfig{Start: logd.AtNext(), Follow: true, Limit: 2})
	add(t, client, "t", "new", "newer")
	if got := rest(s); !slices.Equal(got, []string{"new", "newer"}) || s.End() != logd.EndLimit {
		t.Errorf("from the next: %q, %v", got, s.End())
	}
}

// How a Scanner ends tells the end of the log, an empty topic, no topic, and
// the ways in which an offset is bad apart.
func TestScannerEnds(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(256), logdtest.Partitions(2))
	client := server.Client(t)
	for range 20 {
		add(t, client, "t", strings.Repeat("x", 100), "y")
	}
	info := removed(t, client, "t", 2)
	var gone *logd.GoneError
	var bad *logd.OffsetError
	tests := []struct {
		name  string
		topic string
		start logd.Position
		end   logd.ScanEnd
		check func(error) bool
		text  string
	}{
		{"end", "t", logd.AtOffset(info.Next), logd.EndOfLog, nil, ""},
		{"all", "t", logd.AtOldest(), logd.EndOfLog, nil, ""},
		{"gone", "t", logd.AtOffset(0), logd.EndFailed, func(err error) bool {
			return errors.As(err, &gone) && *gone == logd.GoneError{Oldest: info.Oldest}
		}, fmt.Sprintf(`logd: scan "t": offset 0 is gone; the oldest is %d`, info.Oldest)},
		{"beyond", "t", logd.AtOffset(info.Next + 1), logd.EndFailed, func(err error) bool {
			return errors.As(err, &bad) && *bad == logd.OffsetError{Offset: info.Next + 1, Oldest: info.Oldest, Next: info.Next}
		}, fmt.Sprintf(`logd: scan "t": offset %d is beyond the end, %d`, info.Next+1, info.Next)},
		{"inside", "t", logd.AtOffset(info.Oldest + 1), logd.EndFailed, func(err error) bool {
			return errors.As(err, &bad) && bad.Offset == info.Oldest+1 && bad.Oldest == info.Oldest && bad.Next == info.Next
		}, fmt.Sprintf(`logd: scan "t": offset %d is not the beginning of a batch`, info.Oldest+1)},
		{"delta", "t", logd.At(logd.ID{Offset: info.Oldest, Delta: 5}), logd.EndFailed, func(err error) bool {
			return errors.As(err, &bad) && *bad == logd.OffsetError{Offset: info.Oldest, Delta: 5, Oldest: info.Oldest, Next: info.Next}
		}, fmt.Sprintf(`logd: scan "t": delta 5 is not the beginning of a message in the batch at offset %d`, info.Oldest)},
		{"after no message", "t", logd.After(logd.ID{Offset: info.Oldest, Delta: 1000}), logd.EndFailed, func(err error) bool {
			return errors.As(err, &bad) && bad.Delta == 1000
		}, "delta 1000"},
		{"no topic", "none", logd.AtOldest(), logd.EndFailed, func(err error) bool {
			return !errors.As(err, &gone) && !errors.As(err, &bad)
		}, `"none"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScanner(t, client, tt.topic, logd.ScannerConfig{Start: tt.start})
			bodies := rest(s)
			if s.End() != tt.end {
				t.Fatalf("end %v, %v, want %v", s.End(), s.Err(), tt.end)
			}
			if tt.check == nil {
				if s.Err() != nil {
					t.Errorf("Err = %v", s.Err())
				}
				return
			}
			if len(bodies) > 0 || !errors.Is(s.Err(), logd.ErrNotFound) || !tt.check(s.Err()) || !strings.Contains(s.Err().Error(), tt.text) {
				t.Errorf("bodies %q, error %v, want %s", bodies, s.Err(), tt.text)
			}
			if s.Scan() || s.End() != tt.end {
				t.Errorf("another Scan changes the end to %v", s.End())
			}
		})
	}
	_, err := logd.NewScanner(t.Context(), client, "none", logd.ScannerConfig{Start: logd.AtNext()})
	if !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("at the next of no topic: %v", err)
	}
}

// OnGone goes on behind the gap, of which it is told, or ends the Scanner.
func TestScannerPassesGap(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(256), logdtest.Partitions(2))
	client := server.Client(t)
	names := fill(t, client, "t", 0, 100)
	info := removed(t, client, "t", 2)
	first := slices.IndexFunc(names, func(n messageName) bool { return n.offset == info.Oldest })
	var state progress.Memory
	state.Begin = logd.After(logd.ID{Offset: names[2].offset, Delta: names[2].delta})
	var gaps []logd.GoneError
	s := newScanner(t, client, "t", logd.ScannerConfig{
		Start:    logd.AtNext(), // which the state knows better
		Progress: &state,
		OnGone: func(gone *logd.GoneError) error {
			gaps = append(gaps, *gone)
			return nil
		},
	})
	if got := rest(s); !slices.Equal(got, numbers(first, 100)) || s.Err() != nil {
		t.Errorf("got %q, %v, want %d to 99", got, s.Err(), first)
	}
	if want := (logd.GoneError{Offset: names[2].offset, Oldest: info.Oldest}); len(gaps) != 1 || gaps[0] != want {
		t.Errorf("gaps %v, want %v", gaps, want)
	}
	if got, want := state.Peek(), logd.At(logd.ID{Offset: names[first].offset, Delta: names[first].delta}); got != want {
		t.Errorf("state is %v, want %v", got, want)
	}

	enough := errors.New("enough")
	s = newScanner(t, client, "t", logd.ScannerConfig{
		Start:  logd.AtOffset(0),
		OnGone: func(*logd.GoneError) error { return enough },
	})
	if s.Scan() || !errors.Is(s.Err(), enough) {
		t.Errorf("Scan goes on, or ends with %v", s.Err())
	}
}

// A server that goes away and comes back, again and again, is followed without
// a loss or a repetition.
func TestScannerFollowsThroughRestarts(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(512), logdtest.Partitions(1000))
	client := server.Client(t)
	fill(t, client, "t", 0, 10)
	s := newScanner(t, client, "t", logd.ScannerConfig{Follow: true, ReadBytes: 100})
	const rounds = 5
	for round := range rounds {
		from := round * 50
		if round > 0 {
			fill(t, client, "t", from-40, from)
			if round%2 == 0 {
				// Some of it is fetched before, some after.
				fill(t, client, "t", from, from+10)
			}
			server.Restart()
			reconnect(t, client)
			if round%2 == 1 {
				fill(t, client, "t", from, from+10)
			}
		}
		end := from + 10
		begin := max(end-50, 0)
		for i := begin; i < end; i++ {
			if !s.Scan() {
				t.Fatalf("round %d: Scan ends before message %d: %v", round, i, s.Err())
			}
			if got := string(s.Message().Body); got != fmt.Sprint(i) {
				t.Fatalf("round %d: message %q, want %d", round, got, i)
			}
		}
	}
	// Waiting, while the server is away.
	type outcome struct {
		ok   bool
		body string
	}
	scanned := make(chan outcome)
	go func() {
		ok := s.Scan()
		scanned <- outcome{ok, string(s.Message().Body)}
	}()
	server.Stop()
	server.Restart()
	reconnect(t, client)
	add(t, client, "t", "last")
	if got := <-scanned; !got.ok || got.body != "last" {
		t.Errorf("after the last restart: %+v, %v", got, s.Err())
	}
}

// Attempts that are bounded come to an end.
func TestScannerGivesUp(t *testing.T) {
	server := logdtest.Start(t)
	add(t, server.Client(t), "t", "a")
	cfg := server.ClientConfig()
	cfg.ReconnectAttempts = 3
	client, err := logd.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := newScanner(t, client, "t", logd.ScannerConfig{Follow: true})
	if !s.Scan() {
		t.Fatal(s.Err())
	}
	server.Stop()
	if s.Scan() || !errors.Is(s.Err(), logd.ErrConnect) || s.End() != logd.EndFailed {
		t.Errorf("Scan without a server: %v, %v", s.End(), s.Err())
	}
}

// Close and the Client's Close each end a Scan that waits.
func TestScannerUnblocks(t *testing.T) {
	server := logdtest.Start(t)
	add(t, server.Client(t), "t", "a")
	for name, tt := range map[string]struct {
		stop func(s *logd.Scanner, client *logd.Client)
		want error
	}{
		"close":  {func(s *logd.Scanner, _ *logd.Client) { s.Close() }, logd.ErrClosed},
		"client": {func(_ *logd.Scanner, client *logd.Client) { client.Close() }, logd.ErrClosed},
	} {
		for _, away := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/away=%v", name, away), func(t *testing.T) {
				client := server.Client(t)
				s := newScanner(t, client, "t", logd.ScannerConfig{Follow: true})
				if !s.Scan() {
					t.Fatal(s.Err())
				}
				if away {
					server.Stop()
					defer server.Restart()
				}
				done := make(chan bool)
				go func() { done <- s.Scan() }()
				start := time.Now()
				tt.stop(s, client)
				if <-done || !errors.Is(s.Err(), tt.want) {
					t.Errorf("Scan ended with %v, want %v", s.Err(), tt.want)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if s.Close(); s.Scan() || !errors.Is(s.Err(), tt.want) {
					t.Errorf("after Close: %v", s.Err())
				}
			})
		}
	}
}

// A Scanner that follows holds up nobody else on its Client.
func TestScannerHoldsUpNobody(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	add(t, client, "a", "1")
	add(t, client, "b", "1")
	for _, topic := range []string{"a", "b"} {
		s := newScanner(t, client, topic, logd.ScannerConfig{Start: logd.AtNext(), Follow: true})
		start := time.Now()
		add(t, client, topic, "2")
		if !s.Scan() || string(s.Message().Body) != "2" {
			t.Fatal(s.Err())
		}
		if err := client.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 5*time.Second { // a waiting read would take 10
			t.Errorf("it took %v", took)
		}
	}
}

// Servers may allow fewer messages at once than a Scanner asks for.
func TestScannerFitsServer(t *testing.T) {
	client := logdtest.Start(t, logdtest.MaxMessages(5)).Client(t)
	fill(t, client, "t", 0, 100)
	s := newScanner(t, client, "t", logd.ScannerConfig{})
	if got := rest(s); !slices.Equal(got, numbers(0, 100)) || s.Err() != nil {
		t.Errorf("got %q, %v", got, s.Err())
	}
}

// A Scanner never asks for more than its Client takes.
func TestScannerFitsClient(t *testing.T) {
	server := logdtest.Start(t)
	fill(t, server.Client(t), "t", 0, 1000)
	cfg := server.ClientConfig()
	cfg.MaxReplySize = 1000
	client, err := logd.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := newScanner(t, client, "t", logd.ScannerConfig{})
	if got := rest(s); !slices.Equal(got, numbers(0, 1000)) || s.Err() != nil {
		t.Errorf("got %d messages, %v", len(got), s.Err())
	}
}

// Messages are good until the next Scan, copies for ever.
func TestScannerCopy(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	fill(t, client, "t", 0, 3000)
	s := newScanner(t, client, "t", logd.ScannerConfig{ReadBytes: 1000})
	var kept []logd.Message
	for s.Scan() {
		kept = append(kept, s.Message().Copy())
	}
	for i, m := range kept {
		if string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
	}
	if len(kept) != 3000 {
		t.Errorf("%d messages: %v", len(kept), s.Err())
	}
}

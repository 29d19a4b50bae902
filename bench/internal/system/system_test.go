package system

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// find returns the system, or skips the test where it is not on this machine.
func find(t *testing.T, s System, bin string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and starts servers: not in -short")
	}
	err := s.Find(t.Context(), bin)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func startServer(t *testing.T, s System, o Options) Server {
	t.Helper()
	server, err := s.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Process().Kill)
	return server
}

// body returns the ith message of a test.
func body(i int) []byte {
	return fmt.Appendf(nil, "message %06d %s", i, strings.Repeat("x", i%300))
}

// TestDrivers writes to every system that is here, in each of its durabilities,
// and checks that all comes back.
func TestDrivers(t *testing.T) {
	bin := t.TempDir()
	for _, s := range append(All(), new(LogdHTTP)) {
		t.Run(s.Name(), func(t *testing.T) {
			find(t, s, bin)
			if s.Version() == "" {
				t.Error("no version")
			}
			for _, sync := range []bool{false, true} {
				if s.Durability(sync) == "" {
					continue
				}
				t.Run(fmt.Sprintf("sync=%v", sync), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					testDriver(t, ctx, s, Options{Dir: t.TempDir(), Sync: sync})
				})
			}
		})
	}
}

func testDriver(t *testing.T, ctx context.Context, s System, o Options) {
	const messages = 2000
	server := startServer(t, s, o)
	topics, err := server.Topics(ctx, "smoke", 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 2 || topics[0] == topics[1] {
		t.Fatalf("topics %q: want two", topics)
	}

	writer, err := server.Writer(ctx, topics[0])
	if err != nil {
		t.Fatal(err)
	}
	scratch := make([]byte, 0, 1000)
	for i := range messages {
		scratch = append(scratch[:0], body(i)...) // which the writer has to copy
		if err := writer.Write(scratch); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	checkTopic(t, ctx, server, topics[0], messages)

	follow(t, ctx, s, server, topics[0])

	if err := server.Process().Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if s.Traits().Replays {
		checkTopic(t, ctx, startServer(t, s, o), topics[0], messages)
	}
}

// checkTopic reads the topic's first messages and compares them.
func checkTopic(t *testing.T, ctx context.Context, server Server, topic string, messages int) {
	t.Helper()
	i := 0
	err := server.CatchUp(ctx, topic, int64(messages), func(got []byte) {
		if want := body(i); !bytes.Equal(got, want) {
			t.Errorf("message %d is %.40q, want %.40q", i, got, want)
		}
		i++
	})
	if err != nil || i != messages {
		t.Fatalf("read %d messages, error %v: want %d", i, err, messages)
	}
}

// follow checks that a follower gets what is written after it is ready.
func follow(t *testing.T, ctx context.Context, s System, server Server, topic string) {
	t.Helper()
	const messages = 20
	caller, err := server.Caller(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	if err := caller.Call(ctx, topic, []byte("before")); err != nil {
		t.Fatal(err)
	}
	following, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	ready := make(chan struct{})
	var got atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- server.Follow(following, topic, func() { close(ready) }, func(b []byte) {
			if bytes.HasPrefix(b, []byte("after")) && got.Add(1) == messages {
				stop()
			}
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the follower ended before it was ready: %v", err)
	}
	for i := range messages {
		if err := caller.Call(ctx, topic, fmt.Appendf(nil, "after %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil || got.Load() != messages {
		t.Errorf("%s: followed %d messages, error %v: want %d", s.Name(), got.Load(), err, messages)
	}
}

func TestStartThatFails(t *testing.T) {
	s := &Redis{path: "/bin/false"}
	if _, err := s.Start(t.Context(), Options{Dir: t.TempDir()}); err == nil {
		t.Error("no error for a server that ends at once")
	}
}

// reply returns a connection that reads the text.
func reply(text string) *resp {
	return &resp{in: bufio.NewReader(strings.NewReader(text))}
}

func TestEntries(t *testing.T) {
	entry := func(id, value string) string {
		return fmt.Sprintf("*2\r\n$%d\r\n%s\r\n*2\r\n$1\r\nd\r\n$%d\r\n%s\r\n", len(id), id, len(value), value)
	}
	var last []byte
	var got []string
	each := func(b []byte) { got = append(got, string(b)) }
	n, err := reply("*1\r\n*2\r\n$1\r\nt\r\n*2\r\n"+entry("1-0", "one")+entry("2-0", "tw\r\n")).entries(&last, each)
	if err != nil || n != 2 || string(last) != "2-0" || strings.Join(got, ",") != "one,tw\r\n" {
		t.Errorf("got %d %q up to %q, error %v", n, got, last, err)
	}
	if n, err := reply("*-1\r\n").entries(&last, each); n != 0 || err != nil {
		t.Errorf("no entries: got %d, error %v", n, err)
	}
	for _, bad := range []string{
		"", "*", "\r\n", "*1\n", "-ERR no\r\n", "*9999999999\r\n", "*x\r\n", "$1\r\na\r\n",
		"*1\r\n*3\r\n", "*1\r\n*2\r\n$-7\r\n", "*1\r\n*2\r\n$99999999\r\n", "*1\r\n*2\r\n:1\r\n",
		"*1\r\n*2\r\n$1\r\nt\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nd\r\n$5\r\nshort",
	} {
		if _, err := reply(bad).entries(&last, each); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestAppendAdd(t *testing.T) {
	want := "*5\r\n$4\r\nXADD\r\n$3\r\nt-0\r\n$1\r\n*\r\n$1\r\nd\r\n$5\r\nhello\r\n"
	if got := appendAdd(nil, "t-0", []byte("hello")); string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

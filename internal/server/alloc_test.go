package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
)

// exchange sends a request and receives as many bytes as its answer has.
func exchange(t testing.TB, nc net.Conn, request, answer []byte) {
	if _, err := nc.Write(request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, answer); err != nil {
		t.Fatal(err)
	}
}

// TestAllocations pins what the server allocates for a request. What the
// client's side does here allocates nothing.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	b := testkit.Batch("t", strings.Repeat("x", 100))
	files, stored := newFileStore(t, 1000, 1<<40)
	everything := server.NewAuth(loadPolicy(t, "testdata/auth.toml"), new(auth.Failures), slog.New(slog.DiscardHandler))
	limited := withQuotas(t, fmt.Sprintf("all: write-rate = %d; read-rate = %d; connections = 1", 1<<40, 1<<40))
	for _, test := range []struct {
		name    string
		store   topic.Store
		request string
		answer  string
		most    float64
	}{
		{"PING", discardStore{}, "PING\r\n", "OK\r\n", 0},
		{"BATCH", discardStore{}, b, "OK 0 1\r\n", 0},
		{"BATCH of 10 messages", discardStore{}, testkit.Batch("t", "", "1", "2", "3", "4", "5", "6", "7", "8", "9"), "OK 0 1\r\n", 0},
		{"BATCH, pipelined", discardStore{}, b + b + b + b, "OK 0 1\r\nOK 137 1\r\nOK 274 1\r\nOK 411 1\r\n", 0},
		// Space for the answers to so many is given back when all is quiet.
		{"100 that are refused", discardStore{}, strings.Repeat("BATCH 0 t 0 0\r\n", 100), strings.Repeat("ERR invalid request\r\n", 100), 20},
		{"BATCH of 60,000 bytes", discardStore{}, testkit.Batch("t", strings.Repeat("x", 60_000)), "OK 0 1\r\n", 0},
		{"BATCH that is refused", discardStore{}, "BATCH 0 t 0 0\r\n", "ERR invalid request\r\n", 0},
		{"BATCH with a bad checksum", discardStore{}, strings.Replace(b, "x\r\n", "y\r\n", 1), "ERR checksum mismatch\r\n", 0},
		{"READ", files, "READ t 0 1\r\n", "OK 0 1\r\n" + stored, 0},
		{"READ that finds nothing", discardStore{}, "READ t 0 1\r\n", "ERR not found\r\n", 0},
		{"SEEK", discardStore{}, "SEEK t 0\r\n", "OK 0 0\r\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, a := range []*server.Auth{nil, everything, limited} {
				o := server.Options{Store: test.store, Auth: a}
				if a == limited {
					o.TopicWriteRate = 1 << 40
				}
				s := server.New(o)
				nc := dialAddr(t, serveTCP(t, s))
				nc.SetDeadline(time.Now().Add(time.Minute))
				if a != nil {
					exchange(t, nc, []byte("AUTH all-token\r\n"), make([]byte, len("OK\r\n")))
				}
				request, answer := []byte(test.request), make([]byte, len(test.answer))
				for range 10 { // until buffers are as large as they need to be
					exchange(t, nc, request, answer)
				}
				if string(answer) != test.answer {
					t.Fatalf("received %q, want %q", answer, test.answer)
				}
				// A collection empties the pools: the least of a few rounds is
				// what the server needs.
				got := 1e9
				for range 3 {
					got = min(got, testing.AllocsPerRun(200, func() { exchange(t, nc, request, answer) }))
				}
				if got > test.most {
					t.Errorf("with identities %v, quotas %v: %v allocations, want at most %v", a != nil, a == limited, got, test.most)
				}
			}
		})
	}
}

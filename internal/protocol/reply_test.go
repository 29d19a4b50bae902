package protocol_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

func TestAppendReplies(t *testing.T) {
	for want, got := range map[string][]byte{
		"xOK\r\n":                       protocol.AppendOK([]byte("x")),
		"xOK 0 0\r\n":                   protocol.AppendOffset([]byte("x"), 0, 0),
		"OK 9223372036854775807 12\r\n": protocol.AppendOffset(nil, math.MaxInt64, 12),
		"xMOK 0\r\n\r\n":                protocol.AppendBody([]byte("x"), nil),
		"MOK 21\r\nOldest: 0\r\nNext: 24\r\n\r\n": protocol.AppendBody(nil, []byte("Oldest: 0\r\nNext: 24\r\n")),
		"xERR not found\r\n":                      protocol.AppendError([]byte("x"), protocol.ErrNotFound),
		"ERR maximum topics allowed\r\n":          protocol.AppendError(nil, protocol.ErrMaxTopics),
	} {
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestParseReply(t *testing.T) {
	tests := []struct {
		line string
		want protocol.Reply
	}{
		{"OK", protocol.Reply{Kind: protocol.ReplyOK}},
		{"OK 0 1", protocol.Reply{Kind: protocol.ReplyOffset, Batches: 1}},
		{"OK 24 0", protocol.Reply{Kind: protocol.ReplyOffset, Offset: 24}},
		{"OK " + maxInt64 + " " + maxInt64, protocol.Reply{Kind: protocol.ReplyOffset, Offset: math.MaxInt64, Batches: math.MaxInt64}},
		{"MOK 0", protocol.Reply{Kind: protocol.ReplyBody}},
		{"MOK 123", protocol.Reply{Kind: protocol.ReplyBody, Size: 123}},
		{"ERR not found", protocol.Reply{Kind: protocol.ReplyError, Reason: []byte("not found")}},
		{"ERR not leader 10.0.0.1:1774", protocol.Reply{Kind: protocol.ReplyError, Reason: []byte("not leader 10.0.0.1:1774")}},
		{"ERR from the future", protocol.Reply{Kind: protocol.ReplyError, Reason: []byte("from the future")}},
		{"ERR ", protocol.Reply{Kind: protocol.ReplyError, Reason: []byte{}}},
		{"ERR", protocol.Reply{Kind: protocol.ReplyError}},
	}
	for _, test := range tests {
		got, err := protocol.ParseReply([]byte(test.line))
		if err != nil {
			t.Errorf("ParseReply(%q): %v", test.line, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("ParseReply(%q) (-want +got):\n%s", test.line, diff)
		}
	}
	for _, line := range []string{
		"", " ", "x", "ok", "Ok", "ok 0 1", "err not found", "mok 0", "OKAY", "ERROR", "ERRor", "OK\r", "OK\t0 1", " OK", "PING", "HTTP/1.1 400",
		"OK ", "OK 0", "OK 0 ", "OK 0 1 ", "OK 0 1 2", "OK  0 1", "OK 0  1", "OK x 1", "OK 0 x", "OK -1 1", "OK 01 1", "OK 0 9223372036854775808",
		"MOK", "MOK ", "MOK x", "MOK -1", "MOK 01", "MOK 1 ", "MOK 1 2", "MOK  1", "MOK 9223372036854775808",
	} {
		if got, err := protocol.ParseReply([]byte(line)); !errors.Is(err, protocol.ErrReply) {
			t.Errorf("ParseReply(%q): %+v, %v, want ErrReply", line, got, err)
		}
	}
}

// TestRepliesRoundTrip parses what the Append functions write.
func TestRepliesRoundTrip(t *testing.T) {
	for _, test := range []struct {
		reply []byte
		want  protocol.Reply
	}{
		{protocol.AppendOK(nil), protocol.Reply{Kind: protocol.ReplyOK}},
		{protocol.AppendOffset(nil, 7, 3), protocol.Reply{Kind: protocol.ReplyOffset, Offset: 7, Batches: 3}},
		{protocol.AppendBody(nil, []byte("a\r\nb")), protocol.Reply{Kind: protocol.ReplyBody, Size: 4}},
		{protocol.AppendError(nil, protocol.ErrBusy), protocol.Reply{Kind: protocol.ReplyError, Reason: []byte("busy")}},
	} {
		line, _, ok := bytes.Cut(test.reply, []byte("\r\n"))
		if !ok {
			t.Errorf("%q has no line end", test.reply)
		}
		got, err := protocol.ParseReply(line)
		if err != nil {
			t.Errorf("ParseReply(%q): %v", line, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.reply, diff)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	var req protocol.Request
	dst := make([]byte, 0, 1024)
	body := make([]byte, 100)
	lines := [][]byte{
		[]byte("BATCH 9 topic 4294967295 1"), []byte("READ topic 123456789 50000 wait=1000 max-bytes=65536"), []byte("TAIL topic 1"),
		[]byte("INFO topic"), []byte("SEEK topic 1"), []byte("PING"), []byte("HELLO 1"), []byte("nonsense"), []byte("READ t x 1"),
	}
	replies := [][]byte{[]byte("OK"), []byte("OK 123456789 1"), []byte("MOK 123"), []byte("ERR not found"), []byte("nonsense")}
	offset := protocol.Request{Command: protocol.Read, Topic: []byte("topic"), Offset: 123456789, Messages: 5, Waits: true, MaxBytes: 7}
	envelope := protocol.Request{Command: protocol.Batch, Batch: batch.Header{Size: 9, Topic: []byte("topic"), Messages: 1}}
	for name, fn := range map[string]func(){
		"ParseRequest": func() {
			for _, line := range lines {
				protocol.ParseRequest(line, &req)
			}
		},
		"ParseReply": func() {
			for _, line := range replies {
				protocol.ParseReply(line)
			}
		},
		"AppendRequest": func() {
			dst = protocol.AppendRequest(dst[:0], &offset)
			dst = protocol.AppendRequest(dst[:0], &envelope)
		},
		"AppendOK":     func() { dst = protocol.AppendOK(dst[:0]) },
		"AppendOffset": func() { dst = protocol.AppendOffset(dst[:0], math.MaxInt64, math.MaxInt64) },
		"AppendBody":   func() { dst = protocol.AppendBody(dst[:0], body) },
		"AppendError":  func() { dst = protocol.AppendError(dst[:0], protocol.ErrNotFound) },
		"ErrorFor":     func() { protocol.ErrorFor("not found") },
	} {
		if n := testing.AllocsPerRun(10, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for name, line := range map[string]string{
		"BATCH": "BATCH 65000 topic 4294967295 600",
		"READ":  "READ topic 123456789 50000",
		"wait":  "READ topic 123456789 50000 wait=1000 max-bytes=65536",
		"PING":  "PING",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p := []byte(line)
			var req protocol.Request
			for b.Loop() {
				if err := protocol.ParseRequest(p, &req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseReply(b *testing.B) {
	line := []byte("OK 123456789 1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := protocol.ParseReply(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendOffset(b *testing.B) {
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		dst = protocol.AppendOffset(dst[:0], 123456789, 1)
	}
}

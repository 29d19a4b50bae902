package protocol_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

const maxInt64 = "9223372036854775807"

func TestParseRequest(t *testing.T) {
	topic := []byte("t")
	long := strings.Repeat("t", batch.MaxTopicLen)
	forever := time.Duration(math.MaxInt64/int64(time.Millisecond)) * time.Millisecond
	tests := []struct {
		line string
		want protocol.Request
	}{
		{"CONFIG", protocol.Request{Command: protocol.Config}},
		{"STATS", protocol.Request{Command: protocol.Stats}},
		{"CLOSE", protocol.Request{Command: protocol.Close}},
		{"PING", protocol.Request{Command: protocol.Ping}},
		{"TOPICS", protocol.Request{Command: protocol.Topics}},
		{"INFO t", protocol.Request{Command: protocol.Info, Topic: topic}},
		{"INFO __own", protocol.Request{Command: protocol.Info, Topic: []byte("__own")}},
		{"INFO " + long, protocol.Request{Command: protocol.Info, Topic: []byte(long)}},
		{"INFO READ", protocol.Request{Command: protocol.Info, Topic: []byte("READ")}},
		{"SEEK t 0", protocol.Request{Command: protocol.Seek, Topic: topic}},
		{"SEEK t " + maxInt64, protocol.Request{Command: protocol.Seek, Topic: topic, Millis: math.MaxInt64}},
		{"READ t 0 1", protocol.Request{Command: protocol.Read, Topic: topic, Messages: 1}},
		{"READ 1 2 3", protocol.Request{Command: protocol.Read, Topic: []byte("1"), Offset: 2, Messages: 3}},
		{"READ t 0 0", protocol.Request{Command: protocol.Read, Topic: topic}}, // the limit is the server's
		{
			"READ t " + maxInt64 + " " + maxInt64 + " wait=" + maxInt64 + " max-bytes=" + maxInt64,
			protocol.Request{
				Command: protocol.Read, Topic: topic, Offset: math.MaxInt64, Messages: math.MaxInt64,
				Waits: true, Wait: forever, MaxBytes: math.MaxInt64,
			},
		},
		{"READ t 0 1 wait=0", protocol.Request{Command: protocol.Read, Topic: topic, Messages: 1, Waits: true}},
		{"READ t 0 1 wait=9223372036854", protocol.Request{Command: protocol.Read, Topic: topic, Messages: 1, Waits: true, Wait: forever}},
		{"READ t 0 1 wait=9223372036855", protocol.Request{Command: protocol.Read, Topic: topic, Messages: 1, Waits: true, Wait: forever}},
		{"READ t 0 1 max-bytes=0", protocol.Request{Command: protocol.Read, Topic: topic, Messages: 1, MaxBytes: 1}},
		{"READ t 0 1 verify=1", protocol.Request{Command: protocol.Read, Topic: topic, Messages: 1, Verify: true}},
		{"TAIL t 5", protocol.Request{Command: protocol.Tail, Topic: topic, Messages: 5}},
		{"TAIL t 5 max-bytes=7 wait=1500", protocol.Request{
			Command: protocol.Tail, Topic: topic, Messages: 5, MaxBytes: 7, Waits: true, Wait: 1500 * time.Millisecond,
		}},
		{"HOOKS", protocol.Request{Command: protocol.Hooks}},
		{"HOOK t 5 retry", protocol.Request{Command: protocol.Hook, Topic: topic, Offset: 5}},
		{"HOOK t 0 skip", protocol.Request{Command: protocol.Hook, Topic: topic, Skip: true}},
		{"RETENTION t", protocol.Request{Command: protocol.Retention, Topic: topic, Keep: protocol.Keep{Partitions: -1, Bytes: -1, Age: -1}}},
		{"RETENTION t age=0 partitions=3", protocol.Request{Command: protocol.Retention, Topic: topic, Keep: protocol.Keep{Partitions: 3, Bytes: -1}}},
		{"RETENTION t bytes=" + maxInt64 + " age=" + maxInt64, protocol.Request{
			Command: protocol.Retention, Topic: topic, Keep: protocol.Keep{Partitions: -1, Bytes: math.MaxInt64, Age: forever},
		}},
		{"DELETE t id=0a", protocol.Request{Command: protocol.Delete, Topic: topic, ID: []byte("0a")}},
		{"DELETE t id=F now=1", protocol.Request{Command: protocol.Delete, Topic: topic, ID: []byte("F"), Now: true}},
		{"DELETE t now=1 id=0", protocol.Request{Command: protocol.Delete, Topic: topic, ID: []byte("0"), Now: true}},
		{"TRIM t 0", protocol.Request{Command: protocol.Trim, Topic: topic}},
		{"TRIM t " + maxInt64, protocol.Request{Command: protocol.Trim, Topic: topic, Offset: math.MaxInt64}},
		{"BATCH 9 t 4294967295 1", protocol.Request{
			Command: protocol.Batch, Topic: topic,
			Batch: batch.Header{Size: 9, Topic: topic, CRC: math.MaxUint32, Messages: 1},
		}},
		{"BATCH 9 t 1 1 pid=a.b seq=" + maxInt64, protocol.Request{
			Command: protocol.Batch, Topic: topic,
			Batch: batch.Header{Size: 9, Topic: topic, CRC: 1, Messages: 1, PID: []byte("a.b"), Seq: math.MaxInt64},
		}},
		{"BATCH 9 t - 1 pid=a seq=1", protocol.Request{
			Command: protocol.Batch, Topic: topic, Unsummed: true,
			Batch: batch.Header{Size: 9, Topic: topic, Messages: 1, PID: []byte("a"), Seq: 1},
		}},
	}
	for _, test := range tests {
		got := protocol.Request{Command: 77, Topic: topic, Offset: 1, MaxBytes: 1, Waits: true, Wait: 1, Millis: 1}
		if err := protocol.ParseRequest([]byte(test.line), &got); err != nil {
			t.Errorf("ParseRequest(%q): %v", test.line, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("ParseRequest(%q) (-want +got):\n%s", test.line, diff)
		}
	}
}

// TestParseRequestRefuses has a line or more for every ground rule.
func TestParseRequestRefuses(t *testing.T) {
	tests := []struct {
		rule  string
		want  error
		lines []string
	}{
		{"a line begins with a command", protocol.ErrInvalidProtocol, []string{
			"", " ", "  ", "x", "0", "GET / HTTP/1.1", "\x16\x03\x01", "READ\x00", "READ\tt 0 1", " PING", " READ t 0 1",
			"unknown", "MSG 0", "OK", "ERR not found", "READS t 0 1", "REA t 0 1", "SUBSCRIBE t",
		}},
		{"commands are upper case", protocol.ErrInvalidProtocol, []string{
			"ping", "Ping", "read t 0 1", "Read t 0 1", "batch 9 t 0 1", "hello 1",
		}},
		{"the line end is not part of the line", protocol.ErrInvalidProtocol, []string{"PING\r", "PING\n", "PING\r\n"}},
		{"a token is one word of 1 to 512 bytes", protocol.ErrInvalidRequest, []string{
			"AUTH", "AUTH ", "AUTH a b", "AUTH a ", "AUTH  a", "AUTH " + strings.Repeat("x", protocol.MaxToken+1),
		}},
		{"single spaces", protocol.ErrInvalidRequest, []string{
			"READ  t 0 1", "READ t  0 1", "READ t 0  1", "READ t 0 1  wait=1", "TAIL  t 1", "INFO  t", "SEEK t  1", "BATCH 9 t  0 1",
		}},
		{"only spaces", protocol.ErrInvalidRequest, []string{"READ t\t0 1", "READ t 0 1\twait=1", "TAIL t 1\v", "INFO t\xa0"}},
		{"no space at the end", protocol.ErrInvalidRequest, []string{
			"PING ", "CONFIG ", "STATS ", "CLOSE ", "TOPICS ", "INFO t ", "SEEK t 1 ", "READ t 0 1 ", "READ t 0 1 wait=1 ", "TAIL t 1 ", "BATCH 9 t 0 1 ",
		}},
		{"too few words", protocol.ErrInvalidRequest, []string{
			"DELETE", "DELETE ", "DELETE t", "DELETE t now=1", "TRIM", "TRIM ", "TRIM t",
			"HOOK", "HOOK t", "HOOK t 1", "RETENTION", "RETENTION ", "READ", "READ ", "READ t", "READ t 0", "TAIL", "TAIL t", "INFO", "INFO ", "SEEK", "SEEK t", "BATCH", "BATCH 9", "BATCH 9 t", "BATCH 9 t 0",
		}},
		{"too many words", protocol.ErrInvalidRequest, []string{
			"DELETE t t id=0", "TRIM t 1 1", "HOOKS t", "HOOK t 1 skip x", "RETENTION t 1", "PING x", "CONFIG x", "STATS x", "CLOSE x", "TOPICS t", "INFO t t", "SEEK t 1 1", "READ t 0 1 1", "TAIL t 0 1", "BATCH 9 t 0 1 1",
		}},
		{"unknown keys", protocol.ErrInvalidRequest, []string{
			"DELETE t id=0 x=1", "DELETE t ID=0", "TRIM t 1 now=1", "RETENTION t x=1", "RETENTION t retention-age=1", "HOOK t 1 Retry", "READ t 0 1 x=1", "READ t 0 1 wait=1 x=1", "READ t 0 1 =1", "READ t 0 1 =", "READ t 0 1 WAIT=1", "READ t 0 1 maxbytes=1",
			"TAIL t 1 codec=zstd", "TAIL t 1 verify=1", "PING wait=1", "INFO t wait=1", "SEEK t 1 wait=1", "STATS wait=1",
			"BATCH 9 t 0 1 color=red", "BATCH 9 t 0 1 wait=1", "HELLO 1 wait=1", "HELLO 1 codecs=s2 codecs=zstd", "BATCH 9 t 0 1 pid=1 seq=1 wait=1",
		}},
		{"a batch's number", protocol.ErrInvalidRequest, []string{
			"BATCH 9 t 0 1 pid=1", "BATCH 9 t 0 1 seq=1", "BATCH 9 t 0 1 seq=1 pid=1", "BATCH 9 t 0 1 pid=1 seq=0", "BATCH 9 t 0 1 pid= seq=1", "BATCH 9 t - 1 pid=1",
		}},
		{"repeated keys", protocol.ErrInvalidRequest, []string{
			"DELETE t id=0 id=0", "DELETE t id=0 now=1 now=1", "RETENTION t age=1 age=1", "RETENTION t age=0 bytes=1 age=0", "READ t 0 1 wait=1 wait=1", "READ t 0 1 wait=1 max-bytes=1 wait=2", "TAIL t 1 max-bytes=0 max-bytes=0", "READ t 0 1 verify=1 verify=1",
		}},
		{"keys stand at the end", protocol.ErrInvalidRequest, []string{"READ wait=1 t 0 1", "READ t wait=1 0 1", "READ t 0 wait=1 1", "TAIL t wait=1 1"}},
		{"a key has one number", protocol.ErrInvalidRequest, []string{
			"READ t 0 1 wait", "READ t 0 1 wait=", "READ t 0 1 wait=x", "READ t 0 1 wait=-1", "READ t 0 1 wait=1=1", "READ t 0 1 wait==1",
			"READ t 0 1 wait=1s", "READ t 0 1 wait=01", "READ t 0 1 max-bytes=9223372036854775808",
			"READ t 0 1 verify", "READ t 0 1 verify=0", "READ t 0 1 verify=2", "READ t 0 1 verify=01",
		}},
		{"ids", protocol.ErrInvalidRequest, []string{
			"DELETE t 0", "DELETE t id", "DELETE t id=", "DELETE t id=g", "DELETE t id=0x1", "DELETE t id=-1", "DELETE t id=0=0", "DELETE t id=0 now=0", "DELETE t id=0 now=2", "DELETE t id=0 now",
		}},
		{"numbers", protocol.ErrInvalidRequest, []string{
			"TRIM t -1", "TRIM t 01", "TRIM t x", "TRIM t 9223372036854775808",
			"READ t -1 1", "READ t +1 1", "READ t 01 1", "READ t 00 1", "READ t x 1", "READ t 1.0 1", "READ t 0x1 1", "READ t 1e3 1", "READ t 1_000 1",
			"READ t 9223372036854775808 1", "READ t 18446744073709551616 1", "READ t 0 -1", "READ t 0 01", "READ t 0 99999999999999999999",
			"TAIL t -1", "TAIL t x", "TAIL t 01", "SEEK t -1", "SEEK t x", "SEEK t 01", "SEEK t 9223372036854775808", "READ t ۱ 1",
			"BATCH x t 0 1", "BATCH 09 t 0 1", "BATCH 9 t 4294967296 1", "BATCH 9 t 0 0",
		}},
		{"names", protocol.ErrInvalidRequest, []string{
			"READ .t 0 1", "READ . 0 1", "READ .. 0 1", "READ ../t 0 1", "READ /t 0 1", "READ a/b 0 1", "READ a\\b 0 1", "READ a\x00 0 1",
			"READ ä 0 1", "READ a:b 0 1", "READ a~ 0 1", "READ a\r 0 1", "TAIL .t 1", "TAIL a/b 1", "INFO .t", "INFO ..", "INFO a/b", "SEEK .t 1",
			"SEEK a/b 1", "BATCH 9 ../t 0 1", "INFO " + strings.Repeat("t", batch.MaxTopicLen+1),
		}},
	}
	for _, test := range tests {
		for _, line := range test.lines {
			var req protocol.Request
			if err := protocol.ParseRequest([]byte(line), &req); !errors.Is(err, test.want) {
				t.Errorf("%s: ParseRequest(%q): %v, want %v", test.rule, line, err, test.want)
			}
		}
	}
}

// TestParseRequestBatchSize says how much data follows a BATCH that is
// refused.
func TestParseRequestBatchSize(t *testing.T) {
	for line, want := range map[string]int64{
		"BATCH":                        -1,
		"BATCH ":                       -1,
		"BATCH x t 0 1":                -1,
		"BATCH 09 t 0 1":               -1,
		"BATCH 9":                      9,
		"BATCH 9 .. 0 1":               9,
		"BATCH 9 t 0 1 codec=ZSTD":     9,
		"BATCH " + maxInt64 + " t 0 0": math.MaxInt64,
	} {
		req := protocol.Request{Batch: batch.Header{Size: 77}}
		err := protocol.ParseRequest([]byte(line), &req)
		if !errors.Is(err, protocol.ErrInvalidRequest) || req.Command != protocol.Batch || req.Batch.Size != want {
			t.Errorf("ParseRequest(%q): %v, size %d, %v, want size %d", line, req.Command, req.Batch.Size, err, want)
		}
	}
}

func TestCommandString(t *testing.T) {
	seen := make(map[string]bool)
	for c := range protocol.NumCommands {
		name := protocol.Command(c).String()
		if seen[name] {
			t.Errorf("two commands are %s", name)
		}
		seen[name] = true
		var req protocol.Request
		protocol.ParseRequest([]byte(name), &req)
		if req.Command != protocol.Command(c) {
			t.Errorf("%s parses to %v", name, req.Command)
		}
	}
	if got := protocol.Command(protocol.NumCommands).String(); got != "unknown" {
		t.Errorf("a command beyond the last is %s", got)
	}
}

// TestErrors is the table of errors of the protocol's page.
func TestErrors(t *testing.T) {
	tests := []struct {
		err    *protocol.Error
		reason string
		closes bool
		status int
	}{
		{protocol.ErrNotFound, "not found", false, 404},
		{protocol.ErrInvalidRequest, "invalid request", false, 400},
		{protocol.ErrInvalidProtocol, "invalid protocol", true, 400},
		{protocol.ErrTooLarge, "too large", true, 413},
		{protocol.ErrChecksumMismatch, "checksum mismatch", false, 400},
		{protocol.ErrMaxTopics, "maximum topics allowed", false, 429},
		{protocol.ErrTopicNotAllowed, "topic not allowed", false, 403},
		{protocol.ErrUnauthorized, "unauthorized", false, 401},
		{protocol.ErrUnsupportedCodec, "unsupported codec", false, 400},
		{protocol.ErrNotLeader, "not leader", false, 421},
		{protocol.ErrBusy, "busy", false, 503},
		{protocol.ErrShuttingDown, "shutting down", true, 503},
		{protocol.ErrReadOnly, "read only", false, 503},
		{protocol.ErrInternal, "internal error", false, 500},
		{protocol.ErrOutOfOrder, "out of order", false, 409},
		{protocol.ErrVersionConflict, "version conflict", false, 412},
		{protocol.ErrHeld, "held", false, 423},
		{protocol.ErrMaxPositions, "maximum positions allowed", false, 429},
		{protocol.ErrSequenceConflict, "sequence conflict", false, 409},
	}
	for _, test := range tests {
		if test.err.Reason != test.reason || test.err.Closes != test.closes || test.err.Status != test.status {
			t.Errorf("%+v, want %q, closes %v, status %d", *test.err, test.reason, test.closes, test.status)
		}
		if test.err.Error() != test.reason {
			t.Errorf("Error() is %q", test.err.Error())
		}
		if got, ok := protocol.ErrorFor(test.reason); !ok || got != test.err {
			t.Errorf("ErrorFor(%q): %v, %v", test.reason, got, ok)
		}
	}
	for _, reason := range []string{"", "Not found", "not found ", "not leader 10.0.0.1:1774",
		"out of order ", "out of order 0", "out of order 01", "out of order x", "out of orders 1", "out of order 1 ", "1"} {
		if got, ok := protocol.ErrorFor(reason); ok {
			t.Errorf("ErrorFor(%q): %v", reason, got)
		}
	}
	for _, seq := range []int64{1, 42, math.MaxInt64} {
		err := protocol.OutOfOrder(seq)
		got, ok := protocol.ErrorFor(err.Reason)
		if n, is := protocol.ParseOutOfOrder(err.Reason); !ok || got != protocol.ErrOutOfOrder || !is || n != seq || err.Status != 409 || err.Closes {
			t.Errorf("%q: %v, %v, number %d, %v", err.Reason, got, ok, n, is)
		}
	}
}

package protocol

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/logd-dev/logd/internal/batch"
)

func TestAppendRequest(t *testing.T) {
	topic := []byte("t")
	tests := []struct {
		req  Request
		want string
	}{
		{Request{Command: Read, Topic: topic, Offset: 7, Messages: 15}, "READ t 7 15\r\n"},
		{Request{Command: Read, Topic: topic, Messages: 1, Waits: true}, "READ t 0 1 wait=0\r\n"},
		{Request{Command: Read, Topic: topic, Messages: 1, Waits: true, Wait: time.Second, MaxBytes: 9},
			"READ t 0 1 wait=1000 max-bytes=9\r\n"},
		{Request{Command: Read, Topic: topic, Offset: 7, Messages: 1, MaxBytes: 9, Verify: true}, "READ t 7 1 max-bytes=9 verify=1\r\n"},
		{Request{Command: Tail, Topic: topic, Messages: 2, MaxBytes: 9}, "TAIL t 2 max-bytes=9\r\n"},
		{Request{Command: Seek, Topic: topic, Millis: 1234}, "SEEK t 1234\r\n"},
		{Request{Command: Times, Topic: topic, Offset: 5, To: 1234}, "TIMES t 5 1234\r\n"},
		{Request{Command: Info, Topic: topic}, "INFO t\r\n"},
		{Request{Command: Delete, Topic: topic, ID: []byte("0af")}, "DELETE t id=0af\r\n"},
		{Request{Command: Delete, Topic: topic, ID: []byte("1"), Now: true}, "DELETE t id=1 now=1\r\n"},
		{Request{Command: Trim, Topic: topic, Offset: 7}, "TRIM t 7\r\n"},
		{Request{Command: Topics}, "TOPICS\r\n"},
		{Request{Command: Topics, Fresh: true}, "TOPICS fresh=1\r\n"},
		{Request{Command: Read, Topic: topic, Messages: 1, Waits: true, Fresh: true}, "READ t 0 1 wait=0 fresh=1\r\n"},
		{Request{Command: Seek, Topic: topic, Millis: 1, Fresh: true}, "SEEK t 1 fresh=1\r\n"},
		{Request{Command: Info, Topic: topic, Fresh: true}, "INFO t fresh=1\r\n"},
		{Request{Command: Cluster}, "CLUSTER\r\n"},
		{Request{Command: Groups}, "GROUPS\r\n"},
		{Request{Command: Transfer, Member: []byte("a"), Topic: topic, Group: -1}, "TRANSFER a topic=t\r\n"},
		{Request{Command: Transfer, Member: []byte("a")}, "TRANSFER a group=0\r\n"},
		{Request{Command: Drain, Member: []byte("a")}, "DRAIN a\r\n"},
		{Request{Command: Drain, Member: []byte("a"), Off: true}, "DRAIN a off=1\r\n"},
		{Request{Command: Leave, Member: []byte("3"), Force: true}, "LEAVE 3 force=1\r\n"},
		{Request{Command: Replace, Member: []byte("a"), With: []byte("4")}, "REPLACE a 4\r\n"},
		{Request{Command: Set, Key: []byte("topics"), Value: []byte("5")}, "SETTING topics 5\r\n"},
		{Request{Command: Set, Key: []byte("topics-whitelist"), Value: []byte{}}, "SETTING topics-whitelist \r\n"},
		{Request{Command: Config}, "CONFIG\r\n"},
		{Request{Command: Stats}, "STATS\r\n"},
		{Request{Command: Ping}, "PING\r\n"},
		{Request{Command: Close}, "CLOSE\r\n"},
		{Request{Command: Batch, Topic: topic, Batch: batch.Header{Size: 9, Topic: topic, CRC: 1, Messages: 1}},
			"BATCH 9 t 1 1\r\n"},
	}
	for _, tt := range tests {
		got := AppendRequest(nil, &tt.req)
		if string(got) != tt.want {
			t.Errorf("AppendRequest = %q, want %q", got, tt.want)
		}
		var back Request
		if err := ParseRequest(bytes.TrimSuffix(got, []byte("\r\n")), &back); err != nil {
			t.Errorf("ParseRequest(%q): %v", got, err)
		}
		if diff := cmp.Diff(tt.req, back); diff != "" {
			t.Errorf("%q does not parse to what it was made of (-made +parsed):\n%s", got, diff)
		}
	}
}

func TestAppendRequestRoundsWaitUp(t *testing.T) {
	got := AppendRequest(nil, &Request{Command: Tail, Topic: []byte("t"), Messages: 1, Waits: true, Wait: time.Microsecond})
	if want := "TAIL t 1 wait=1\r\n"; string(got) != want {
		t.Errorf("AppendRequest = %q, want %q", got, want)
	}
}

// FuzzAppendRequest proves that a line which parses is made again from what it
// parsed to, but for the order of its keys.
func FuzzAppendRequest(f *testing.F) {
	for _, line := range []string{"READ t 0 1 wait=5 max-bytes=7", "TAIL t 3 max-bytes=1 wait=0", "SEEK a 9", "TIMES a 0 9", "INFO x", "PING", "BATCH 9 t 1 1", "DELETE t now=1 id=0a", "TRIM t 5"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var req, back Request
		if ParseRequest(line, &req) != nil {
			return
		}
		made := AppendRequest(nil, &req)
		if err := ParseRequest(bytes.TrimSuffix(made, []byte("\r\n")), &back); err != nil {
			t.Fatalf("%q made of %q does not parse: %v", made, line, err)
		}
		if diff := cmp.Diff(req, back); diff != "" {
			t.Fatalf("%q made of %q parses to something else:\n%s", made, line, diff)
		}
	})
}

package link

import (
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/protocol"
)

// FuzzLine: whatever line is let through is one request to a server, which takes
// it to its end and has no batches for an answer.
func FuzzLine(f *testing.F) {
	for _, line := range []string{"", "PING", "READ t 0 1", "BATCH 5 t 0 1", "STATS\r\nSTATS", "TRIM t 5", "CLUSTER", "TAIL", "BATCH\tx", "INFO \xff\u0085"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if checkLine(line) != nil {
			return
		}
		if len(line) > protocol.MaxLine || strings.ContainsAny(line, "\r\n") {
			t.Fatalf("%q is let through", line)
		}
		var req protocol.Request
		protocol.ParseRequest([]byte(line), &req)
		switch req.Command {
		case protocol.Batch, protocol.Read, protocol.Tail, protocol.Close, protocol.Hello, protocol.Auth:
			t.Fatalf("%q is let through as %v", line, req.Command)
		}
	})
}

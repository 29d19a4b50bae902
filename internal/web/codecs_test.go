package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// anything takes every compressed batch.
type anything struct{}

func (anything) Check(*batch.Header, []byte, int64) (int64, *protocol.Error) { return 0, nil }

// TestCodecsOfARequest: what a client takes stands in a header, since there is no HELLO.
func TestCodecsOfARequest(t *testing.T) {
	data := "packed"
	b := fmt.Sprintf("BATCH %d t %d 1 codec=s2\r\n%s", len(data), batch.Checksum([]byte(data)), data)
	o := server.Options{Unpacker: anything{}, Settings: protocol.Settings{Codecs: batch.S2}}
	inBubble(t, o, func(t *testing.T, s *server.Server, _ *topictest.Memory, dial func() *client) {
		post := func(status int, want, request string, header ...string) {
			t.Helper()
			c := dial()
			head := append([]string{"POST /log HTTP/1.1", "Host: localhost", "Content-Type: application/logd", fmt.Sprintf("Content-Length: %d", len(request))}, header...)
			c.send(strings.Join(head, "\r\n") + "\r\n\r\n" + request)
			c.wantAnswer(status, want)
		}
		post(200, "OK 0 1\r\n", b)
		post(400, "ERR unsupported codec\r\n", strings.Replace(b, "=s2", "=zstd", 1))
		read := "READ t 0 1\r\n"
		post(400, "ERR unsupported codec\r\n", read)
		post(400, "ERR unsupported codec\r\n", read, "Logd-Codecs: zstd,lz4")
		post(200, "OK 0 1\r\n"+b, read, "Logd-Codecs: zstd,s2")
		post(400, "ERR invalid request\r\n", read, "Logd-Codecs: s2,s2")
		post(400, "ERR invalid request\r\n", read, "Logd-Codecs:")
		post(400, "ERR invalid request\r\n", read, "Logd-Codecs: s2", "Logd-Codecs: zstd")
	})
}

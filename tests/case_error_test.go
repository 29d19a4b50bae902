package tests

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var errorCases = []systemCase{
	{name: "refused requests", run: refusedRequests},
	{name: "refused batches", run: refusedBatches},
	{name: "names", run: names},
	{name: "refused topics", run: refusedTopics},
	{name: "busy", run: busy},
	{name: "shutting down", run: shuttingDown},
	{name: "read only", adjust: (*config).rotating, run: readOnly},
	{name: "internal error", run: internalError},
}

// reasons are the protocol's error answers. Those that no client can reach yet
// say why.
var reasons = map[string]string{
	"not found": "", "invalid request": "", "invalid protocol": "", "too large": "", "checksum mismatch": "",
	"maximum topics allowed": "", "topic not allowed": "", "busy": "", "shutting down": "", "read only": "", "internal error": "", "unsupported codec": "",

	"unauthorized": "the server has no identities",
	"not leader":   "there is one server alone",
	"tls required": "the server has no certificate",
}

// seen are the reasons that a test was answered with, as it wanted.
var seen sync.Map

// checkReasons makes sure that the cases have met every reason there is.
func checkReasons(t *testing.T) {
	t.Helper()
	for reason, why := range reasons {
		if _, ok := seen.Load(reason); ok != (why == "") {
			t.Errorf("ERR %s was met: %t; expected not to be because: %q", reason, ok, why)
		}
	}
	for reason := range seen.Range {
		if _, ok := reasons[reason.(string)]; !ok {
			t.Errorf("ERR %v is not in the table", reason)
		}
	}
}

// refusedRequests: bad requests are answered and the connection goes on, unless
// it can't be known what follows.
func refusedRequests(s *scene) {
	s.append("one")
	topic := s.topic
	for _, request := range []string{
		"READ", "READ " + topic, "READ " + topic + " 0", "READ " + topic + " 0 1 1", "READ " + topic + " 0 0",
		"READ " + topic + " 00 1", "READ " + topic + " +0 1", "READ " + topic + " -1 1", "READ " + topic + " 0 1 ",
		"READ " + topic + "  0 1", "READ " + topic + " 9223372036854775808 1", "READ " + topic + " 0 9223372036854775807",
		"READ " + topic + " 0 1 wait", "READ " + topic + " 0 1 wait=", "READ " + topic + " 0 1 wait=-1",
		"READ " + topic + " 0 1 wait=1 wait=1", "READ " + topic + " 0 1 max-bytes=1 max-bytes=1", "READ " + topic + " 0 1 color=red",
		"TAIL " + topic, "TAIL " + topic + " 0", "TAIL " + topic + " 0 1", "SEEK " + topic, "SEEK " + topic + " now", "TIMES " + topic + " 0", "TIMES " + topic + " 0 1 2", "INFO", "INFO " + topic + " x",
		"PING x", "STATS x", "CONFIG x", "TOPICS x", "CLOSE x", "HELLO", "HELLO 0", "HELLO 1 codecs=zstd,zstd", "AUTH", "AUTH secret",
	} {
		s.client.refused("invalid request", "%s\r\n", request)
	}
	s.client.write("PING\r\n")
	s.client.line("OK")
	s.client.refused("unsupported codec", "BATCH 9 %s 0 1 codec=lz4\r\nMSG 0\r\n\r\n", topic)
	for _, line := range []string{"PONG", "read x 0 1", "", " PING", "\x00\xff", "PING" + strings.Repeat(" ", 1025), strings.Repeat("x", 5000)} {
		c := s.dial()
		c.refused("invalid protocol", "%s\r\n", line)
		c.closed()
	}
	// A person gets to know more.
	for line, reason := range map[string]string{
		"ping":           "invalid protocol: commands are in upper case: PING",
		"help":           "invalid protocol: commands are in upper case: HELP",
		"GET / HTTP/1.1": "invalid protocol",
	} {
		c := s.dial()
		c.write("%s\r\n", line)
		c.line("ERR " + reason)
		c.closed()
	}
	c := s.dial()
	c.refused("invalid request", "READ %s\r\n", strings.Repeat("x", 1024-len("READ "))) // the longest line there may be
	s.verify(0)
}

// refusedBatches: nothing of them is stored.
func refusedBatches(s *scene) {
	s.append("one")
	good := encode(s.topic, "hello")
	line, data, _ := strings.Cut(good, "\r\n")
	crc := crc32.ChecksumIEEE([]byte(data))
	bad := func(reason, wire string) {
		s.Helper()
		s.client.refused(reason, "%s", wire)
		s.client.write("PING\r\n")
		s.client.line("OK")
	}
	bad("checksum mismatch", strings.Replace(good, "hello", "hellO", 1))
	bad("checksum mismatch", fmt.Sprintf("BATCH %d %s %d 1\r\n%s", len(data), s.topic, crc^1, data))
	bad("invalid request", fmt.Sprintf("BATCH %d %s %d 2\r\n%s", len(data), s.topic, crc, data))
	bad("invalid request", fmt.Sprintf("BATCH %d %s %d 0\r\n%s", len(data), s.topic, crc, data))
	bad("invalid request", fmt.Sprintf("BATCH 0 %s 0 1\r\n", s.topic))
	for _, data := range []string{"MSG 5\r\nhello\n\n", "MSG 4\r\nhello\r\n", "MSG 05\r\nhello\r\n", "msg 5\r\nhello\r\n", "MSG 5\nhello\r\n", "no message"} {
		bad("invalid request", fmt.Sprintf("BATCH %d %s %d 1\r\n%s", len(data), s.topic, crc32.ChecksumIEEE([]byte(data)), data))
	}
	for _, attribute := range []string{"codec=zstd", "pid=1", "seq=1 pid=1", "pid=1 seq=0", "x=y", ""} {
		bad("invalid request", line+" "+attribute+"\r\n"+data)
	}
	for _, line := range []string{"BATCH", "BATCH x t 0 1", "BATCH -1 t 0 1", "BATCH 9223372036854775808 t 0 1"} {
		c := s.dial()
		c.refused("invalid request", "%s\r\n", line)
		c.closed()
	}
	for _, size := range []int64{s.config.maxBatchSize() + 1, 1<<63 - 1} {
		c := s.dial()
		c.refused("too large", "BATCH %d %s 0 1\r\n", size, s.topic) // without the data
		c.closed()
	}
	s.append("two")
	s.verify(0)
}

// names: none leads out of the work directory, and none is the server's own.
func names(s *scene) {
	for _, name := range []string{".", "..", ".x", "../x", "a/b", "a\\b", "a\x00b", "é", "__x", "__", strings.Repeat("n", 256), "*", "~", "$HOME", "%s"} {
		s.client.refused("invalid request", "%s", encode(name, "x"))
		if !strings.HasPrefix(name, "__") {
			s.client.refused("invalid request", "READ %s 0 1\r\n", name)
			s.client.refused("invalid request", "INFO %s\r\n", name)
		}
	}
	long := strings.Repeat("n", 100)
	s.topic = long
	s.append("x")
	s.verify(0)
	entries, err := os.ReadDir(filepath.Dir(s.dir))
	s.client.check(err)
	if len(entries) != 1 {
		s.Errorf("beside the work directory there are %v", entries)
	}
}

// refusedTopics: limits are for new topics only.
func refusedTopics(s *scene) {
	s.append("one")
	s.restart((*server).stop, "--topics", fmt.Sprint(s.config.others+1))
	s.client.refused("maximum topics allowed", "%s", encode("other", "x"))
	s.append("two")
	s.restart((*server).stop, "--topics", "0", "--topics-whitelist", "other", "--topics-whitelist", "third")
	s.client.refused("topic not allowed", "%s", encode("fourth", "x"))
	s.append("three")
	if got := s.client.stat("topics.disallowed"); got != 1 {
		s.Errorf("STATS counts %d topics disallowed, want 1", got)
	}
	if got := s.client.append("third", "x"); got != 0 {
		s.Errorf("a topic that is allowed begins at %d", got)
	}
	s.verify(0)
}

// busy: one connection too many is told so, and the others go on.
func busy(s *scene) {
	s.restart((*server).stop, "--max-connections", "2")
	second := s.dial()
	second.write("PING\r\n")
	second.line("OK")
	third := s.dial()
	third.refused("busy", "")
	third.closed()
	s.append("one")
	second.close()
	eventually(s, "a place is free", func() bool { return s.client.stat("conns.active") == 1 })
	fourth := s.dial()
	fourth.write("PING\r\n")
	fourth.line("OK")
	fourth.write("CLOSE\r\n")
	fourth.line("OK")
	fourth.closed()
	eventually(s, "a place is free", func() bool { return s.client.stat("conns.active") == 1 })
	s.verify(0)
}

// shuttingDown: a request that does not arrive whole while the server drains.
func shuttingDown(s *scene) {
	s.append("one")
	half := s.dial()
	wire := encode(s.topic, "half of it")
	half.write("PING\r\n%s", wire[:len(wire)/2])
	half.line("OK")
	whole := s.dial()
	whole.write("READ %s %d 1 wait=60000\r\nPING\r\n", s.topic, s.next())
	eventually(s, "a reader waits", func() bool { return s.client.stat("reads.waiting") == 1 })
	s.server.signal(syscall.SIGTERM)
	half.refused("shutting down", "")
	half.closed()
	whole.line(fmt.Sprintf("OK %d 0", s.next()))
	whole.line("OK") // it was there before
	whole.closed()
	if code := s.server.wait(); code != 0 {
		s.Errorf("exit code %d, want 0", code)
	}
	s.begin()
	s.verify(0)
}

// readOnly: where the next partition can't be made, writes are refused, reads
// go on, and writes come back by themselves when it can.
func readOnly(s *scene) {
	s.append("one")
	obstacles := make(map[string]bool)
	place := func() {
		s.Helper()
		// The next partition begins at one of the offsets that follow.
		name := partitionFile(s.dir, s.topic, s.next())
		s.client.check(os.Mkdir(name, 0o700))
		obstacles[name] = true
	}
	for done := false; !done; {
		place()
		s.client.write("%s", encode(s.topic, "a message of some length"))
		offset, _, err := s.client.offset()
		switch {
		case err == refusal("read only"):
			done = true
		case err != nil || offset != s.next():
			s.Fatalf("a batch is answered %d, %v", offset, err)
		default:
			s.stored = append(s.stored, s.batch(offset, "a message of some length"))
		}
	}
	s.client.refused("read only", "%s", encode(s.topic, "a message of some length"))
	s.same("while nothing can be written", s.client.all(s.topic, 0), s.stored)
	if status, body := get(s, s.server.http, "/readyz"); status != 503 || !strings.Contains(body, "read only") {
		s.Errorf("/readyz says %d %q", status, body)
	}
	for name := range obstacles {
		s.client.check(os.Remove(name))
	}
	s.append("a message of some length")
	if status, body := get(s, s.server.http, "/readyz"); status != 200 {
		s.Errorf("/readyz says %d %q", status, body)
	}
	s.verify(0)
	s.restart((*server).stop)
	s.verify(0)
}

// internalError: a topic of a newer version is not touched, and not taken for
// damage; the others are served.
func internalError(s *scene) {
	s.append("one")
	s.server.stop()
	folder := filepath.Join(s.dir, "newer")
	s.client.check(os.Mkdir(folder, 0o700))
	journal := binary.LittleEndian.AppendUint32([]byte("logd-jnl"), 99)
	journal = binary.LittleEndian.AppendUint32(journal, crc32.ChecksumIEEE(journal))
	s.client.check(os.WriteFile(filepath.Join(folder, "journal"), journal, 0o600))
	s.client.check(os.WriteFile(filepath.Join(folder, "0.log"), []byte(encode("newer", "x")), 0o600))
	s.begin()
	s.server.await("topic can't be opened; the others are served", func(line map[string]any) bool { return line["topic"] == "newer" })
	s.client.refused("internal error", "READ newer 0 1\r\n")
	s.client.refused("internal error", "%s", encode("newer", "x"))
	s.append("two")
	s.verify(0)
	if status, body := get(s, s.server.http, "/readyz"); status != 503 || !strings.Contains(body, "newer") {
		s.Errorf("/readyz says %d %q", status, body)
	}
	if got, err := os.ReadFile(filepath.Join(folder, "journal")); err != nil || string(got) != string(journal) {
		s.Errorf("the journal of a newer version is now %q, %v", got, err)
	}
}

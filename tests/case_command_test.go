package tests

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

var commandCases = []systemCase{
	{name: "every command", run: everyCommand},
	{name: "configuration", run: effectiveConfig},
	{name: "pipeline", run: pipeline},
	{name: "half close", run: halfClose},
	{name: "bare line feeds", run: bareLineFeeds},
	{name: "concurrent writers", run: concurrentWriters},
}

// stats03 are the names that STATS has had since 0.3.
var stats03 = []string{
	"bytes.in", "bytes.out", "conns.active", "conns.total",
	"errors.batch", "errors.close", "errors.config", "errors.read", "errors.stats", "errors.tail", "errors.total",
	"requests.batch", "requests.close", "requests.config", "requests.read", "requests.stats", "requests.tail", "requests.total",
	"topics.disallowed", "topics.total",
}

const (
	durationPattern = `([0-9.]+(ns|µs|ms|s|m|h))+`
	timePattern     = `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z`
)

// everyCommand gives each command once and looks at its answer to the byte.
func everyCommand(s *scene) {
	first, second := s.batch(0, "hello", ""), s.batch(0, "world")
	length := len(first.wire)
	info := fmt.Sprintf("Oldest: 0\r\nNext: %d\r\nPartitions: 1\r\nBytes: %[1]d\r\nMessages: 3\r\nBatches: 2\r\nOldestTime: %s\r\nNewestTime: %[2]s\r\n",
		length+len(second.wire), timePattern)
	steps := []struct{ request, answer string }{
		{first.wire, "OK 0 1\r\n"},
		{second.wire, fmt.Sprintf("OK %d 1\r\n", length)},
		{"READ " + s.topic + " 0 1\r\n", "OK 0 1\r\n" + regexp.QuoteMeta(first.wire)},
		{"READ " + s.topic + " 0 2 wait=5 max-bytes=1\r\n", "OK 0 1\r\n" + regexp.QuoteMeta(first.wire)},
		{"TAIL " + s.topic + " 3\r\n", "OK 0 2\r\n" + regexp.QuoteMeta(first.wire+second.wire)},
		{fmt.Sprintf("READ %s %d 1 wait=1\r\n", s.topic, length+len(second.wire)), fmt.Sprintf("OK %d 0\r\n", length+len(second.wire))},
		{"SEEK " + s.topic + " 0\r\n", "OK 0 0\r\n"},
		{"SEEK " + s.topic + " 9223372036854775807\r\n", fmt.Sprintf("OK %d 0\r\n", length+len(second.wire))},
		{fmt.Sprintf("TIMES %s 0 %d\r\n", s.topic, length), "MOK 17\r\n0 [0-9]{13}\r\n\r\n"},
		{"TIMES " + s.topic + " 9223372036854775806 9223372036854775807\r\n", "MOK 0\r\n\r\n"},
		{"INFO " + s.topic + "\r\n", "MOK [0-9]+\r\n" + info + "([A-Za-z]+: [^\r\n]*\r\n)*\r\n"},
		{"TOPICS\r\n", "MOK [0-9]+\r\n([A-Za-z0-9._-]+\r\n)+\r\n"},
		{"CONFIG\r\n", "MOK [0-9]+\r\nHost: [^\r\n]+\r\nTimeout: " + durationPattern + "\r\nIdleTimeout: " + durationPattern +
			"\r\nMaxBatchSize: [0-9]+\r\n([A-Za-z]+: [^\r\n]*\r\n)*\r\n"},
		{"STATS\r\n", "MOK [0-9]+\r\n([a-z.0-9]+: [0-9]+\r\n)+\r\n"},
		{"PING\r\n", "OK\r\n"},
		{"HELLO 1\r\n", "MOK [0-9]+\r\nVersion: 1\r\nServer: logd[^\r\n]*\r\nNode: \r\nCodecs: s2,zstd\r\nRole: leader\r\nAuth: off\r\n\r\n"},
		{"AUTH token\r\n", "ERR invalid request\r\n"},
		{"CLOSE\r\n", "OK\r\n"},
	}
	for _, step := range steps {
		s.client.write("%s", step.request)
		got := s.client.whole(step.request)
		if !regexp.MustCompile(`^(?s:` + step.answer + `)$`).MatchString(got) {
			s.Errorf("the answer to %q is\n%q, want\n%s", step.request, got, step.answer)
		}
	}
	s.client.closed()

	s.client = s.dial()
	var names []string
	for line := range strings.SplitSeq(strings.TrimSuffix(s.client.ask("STATS"), "\r\n"), "\r\n") {
		name, _, _ := strings.Cut(line, ": ")
		names = append(names, name)
	}
	if !slices.IsSorted(names) {
		s.Errorf("STATS is not sorted: %q", names)
	}
	for _, name := range stats03 {
		if !slices.Contains(names, name) {
			s.Errorf("STATS has no %s", name)
		}
	}
	want := slices.Sorted(slices.Values(append(slices.Clone(s.others), s.topic)))
	if got := strings.Split(strings.TrimSuffix(s.client.ask("TOPICS"), "\r\n"), "\r\n"); !slices.Equal(got, want) {
		s.Errorf("TOPICS says %q, want %q", got, want)
	}
}

// whole reads the answer to a request as it is.
func (c *client) whole(request string) string {
	c.t.Helper()
	line, err := readLine(c.in)
	c.check(err)
	all := line + "\r\n"
	words := strings.Split(line, " ")
	switch {
	case words[0] == "MOK" && len(words) == 2:
		size, err := decimal(words[1])
		c.check(err)
		b := make([]byte, size+2)
		_, err = io.ReadFull(c.in, b)
		c.check(err)
		all += string(b)
	case len(words) == 3 && (strings.HasPrefix(request, "READ") || strings.HasPrefix(request, "TAIL")):
		n, err := decimal(words[2])
		c.check(err)
		for range n {
			b, err := readBatch(c.in, 0)
			c.check(err)
			all += b.wire
		}
	}
	return all
}

// effectiveConfig compares CONFIG with what the server was started with.
func effectiveConfig(s *scene) {
	got := fields(s.client.ask("CONFIG"))
	for name, want := range map[string]string{
		"Host":          s.server.addr,
		"Timeout":       "15s",
		"IdleTimeout":   "30s",
		"MaxBatchSize":  fmt.Sprint(s.config.maxBatchSize()),
		"MaxMessages":   fmt.Sprint(or(s.config.maxMessages, 50000)),
		"PartitionSize": fmt.Sprint(or(s.config.partitionSize, 2000<<20)),
		"Partitions":    fmt.Sprint(or(s.config.partitions, 8)),
		"FlushBatches":  fmt.Sprint(s.config.flushBatches),
		"FlushInterval": "1s",
	} {
		if got[name] != want {
			s.Errorf("CONFIG says %s: %s, want %s", name, got[name], want)
		}
	}
}

// pipeline sends many requests with one write: the answers come in order.
func pipeline(s *scene) {
	const rounds = 50
	var requests, answers strings.Builder
	for i := range rounds {
		b := s.batch(s.next(), fmt.Sprintf("round %d", i))
		s.stored = append(s.stored, b)
		requests.WriteString(b.wire)
		fmt.Fprintf(&answers, "OK %d 1\r\n", b.offset)
		fmt.Fprintf(&requests, "READ %s %d 1\r\n", s.topic, b.offset)
		fmt.Fprintf(&answers, "OK %d 1\r\n%s", b.offset, b.wire)
		fmt.Fprintf(&requests, "PING\r\nREAD %s %d 1\r\nREAD %[1]s 0 0\r\nREAD %[1]s %[2]d 1 wait=0\r\n", s.topic, b.end())
		fmt.Fprintf(&answers, "OK\r\nERR not found\r\nERR invalid request\r\nOK %d 0\r\n", b.end())
		bad := strings.Replace(b.wire, "round", "wrong", 1)
		fmt.Fprintf(&requests, "%sINFO nothing\r\n", bad)
		answers.WriteString("ERR checksum mismatch\r\nERR not found\r\n")
	}
	requests.WriteString("CLOSE\r\nPING\r\n")
	answers.WriteString("OK\r\n")
	sent := make(chan error, 1)
	go func() { sent <- s.client.send(requests.String()) }()
	for i, want := range strings.SplitAfter(answers.String(), "\r\n") {
		if want == "" {
			break
		}
		if got, err := s.client.in.ReadString('\n'); err != nil || got != want {
			s.Fatalf("line %d of the answers is %q, %v, want %q", i, got, err, want)
		}
	}
	s.client.check(<-sent)
	s.client.closed()
	s.client = s.dial()
	s.verify(0)
}

// halfClose: a client that has said all still gets its answers.
func halfClose(s *scene) {
	s.append("one")
	s.client.write("PING\r\nREAD %s 0 1\r\nREAD %s %d 1 wait=60000\r\n", s.topic, s.topic, s.next())
	s.client.check(s.client.tcp.CloseWrite())
	s.client.line("OK")
	_, got, err := s.client.batches()
	s.client.check(err)
	s.same("after half a close", got, s.stored)
	s.client.line(fmt.Sprintf("OK %d 0", s.next())) // at once: no more can be asked
	s.client.closed()

	// What was not sent whole is not done.
	s.client = s.dial()
	wire := encode(s.topic, "never")
	s.client.write("%s", wire[:len(wire)-1])
	s.client.check(s.client.tcp.CloseWrite())
	s.client.closed()
	s.client = s.dial()
	s.verify(0)
}

// bareLineFeeds: a person may end lines with LF; what is stored is canonical.
func bareLineFeeds(s *scene) {
	b := s.batch(0, "typed")
	s.stored = append(s.stored, b)
	line, data, _ := strings.Cut(b.wire, "\r\n")
	s.client.write("%s\n%s", line, data)
	s.client.line("OK 0 1")
	s.client.write("READ %s 0 1\n", s.topic)
	_, got, err := s.client.batches()
	s.client.check(err)
	s.same("what was typed", got, s.stored)
	s.append("next")
	s.verify(0)
}

// concurrentWriters: exactly what they wrote is there, each one's in order.
func concurrentWriters(s *scene) {
	const writers, each = 8, 40
	offsets := make([][]int64, writers)
	errs := make([]error, writers)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			c, err := connect(s.server.addr)
			if err != nil {
				errs[w] = err
				return
			}
			defer c.close()
			for i := range each {
				if errs[w] = c.send(encode(s.topic, fmt.Sprintf("%d %d", w, i), "second")); errs[w] != nil {
					return
				}
				offset, _, err := c.offset()
				if err != nil {
					errs[w] = err
					return
				}
				offsets[w] = append(offsets[w], offset)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		s.client.check(err)
	}
	if got, want := s.client.number(s.topic, "Messages"), int64(writers*each*2); got != want {
		s.Errorf("INFO counts %d messages, want %d", got, want)
	}
	count := make([]int, writers)
	for _, b := range s.client.all(s.topic, 0) {
		var w, i int
		if _, err := fmt.Sscanf(b.messages[0].body, "%d %d", &w, &i); err != nil || len(b.messages) != 2 {
			s.Fatalf("batch %q is not of a writer", b.wire)
		}
		if i != count[w] || offsets[w][i] != b.offset {
			s.Fatalf("batch %d of writer %d is at %d after %d others of it; it was acknowledged at %d", i, w, b.offset, count[w], offsets[w][i])
		}
		count[w]++
	}
	for w, n := range count {
		if n != each {
			s.Errorf("of writer %d there are %d batches, want %d", w, n, each)
		}
	}
}

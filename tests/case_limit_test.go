package tests

import (
	"bytes"
	"fmt"
	"strings"
)

var limitCases = []systemCase{
	{name: "the largest batch", run: largestBatch},
	{name: "a message of 60 KB", run: largeMessage},
	{name: "a second topic", run: secondTopic},
	{name: "50000 messages at once", run: manyMessages},
	{name: "30 connections", run: manyConnections},
	{name: "deadlines", run: deadlines},
}

// largestBatch: envelope and data together may be as large as MaxBatchSize, and
// no byte more.
func largestBatch(s *scene) {
	limit := int(s.config.maxBatchSize())
	body := ""
	for n, try := limit-60, 0; body == ""; n++ {
		if n > limit {
			n, try = limit-60, try+1 // the length of the checksum depends on the body
		}
		candidate := strings.Repeat(string(rune('a'+try)), n)
		if len(encode(s.topic, candidate)) == limit {
			body = candidate
		}
	}
	s.append(body)
	larger := body
	for len(encode(s.topic, larger)) <= limit {
		larger += "x"
	}
	s.client.refused("too large", "%s", strings.SplitAfter(encode(s.topic, larger), "\r\n")[0])
	s.client.closed()
	s.client = s.dial()
	s.append("after it")
	s.verify(0)
	s.restart((*server).kill)
	s.verify(0)
}

func largeMessage(s *scene) {
	b := bytes.Repeat([]byte("\r\nMSG 5\r\nhello\x00\xff"), 60_000/16)
	for i := range b {
		b[i] ^= byte(i >> 8)
	}
	s.append(string(b))
	s.verify(0)
}

func secondTopic(s *scene) {
	s.append("one")
	if got := s.client.append("second", "one"); got != 0 {
		s.Errorf("a new topic begins at %d", got)
	}
	s.verify(0)
}

func manyMessages(s *scene) {
	s.fill(5)
	s.same("READ 0 50000", s.client.read(s.topic, 0, 50000), s.stored)
	s.client.refused("invalid request", "READ %s 0 50001\r\n", s.topic)
}

func manyConnections(s *scene) {
	var clients []*client
	for range 30 {
		clients = append(clients, s.dial())
	}
	for i, c := range clients {
		s.client = c
		s.append(fmt.Sprint("of connection ", i))
	}
	s.verify(0)
}

// deadlines: who says nothing, or does not come to an end, is cut; who waits
// for data is not.
func deadlines(s *scene) {
	s.append("one")
	s.restart((*server).stop, "--idle-timeout", "300ms", "--timeout", "300ms")
	waiting := s.dial()
	waiting.write("READ %s %d 1 wait=700\r\nPING\r\n", s.topic, s.next())
	half := s.dial()
	half.write("READ %s", s.topic)
	silent := s.dial()
	silent.closed()
	half.closed()
	waiting.line(fmt.Sprintf("OK %d 0", s.next()))
	waiting.line("OK")
	waiting.closed()
	s.restart((*server).stop)
	s.verify(0)
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// writeLen is how much is written at once.
const writeLen = 64 << 10

// sendMSG sends MSGs. With ack it waits until the last one is safe.
func sendMSG(ack bool) sender {
	return func(conn net.Conn, lines int64) error {
		w := bufio.NewWriterSize(conn, writeLen)
		safe := make(chan error, 1)
		if ack {
			w.WriteString("ACK\r\n")
			go func() { safe <- answers(conn, lines) }()
		}
		block := someLines(2000)
		for i := range lines {
			at := int(i%2000) * lineLen
			w.WriteString("MSG 199\r\n")
			w.Write(block[at : at+lineLen-1])
			if _, err := w.WriteString("\r\n"); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil || !ack {
			return err
		}
		return <-safe
	}
}

// answers reads until n messages are safe.
func answers(conn net.Conn, n int64) error {
	for r := bufio.NewScanner(conn); r.Scan(); {
		number, ok := strings.CutPrefix(r.Text(), "OK ")
		if !ok {
			return errors.New(r.Text())
		}
		if got, err := strconv.ParseInt(number, 10, 64); err != nil || got >= n {
			return err
		}
	}
	return errors.New("the connection ended before all was safe")
}

// sendSyslog sends messages of RFC 5424 that are as long as a line: octets counted over a
// stream, or each in a datagram.
func sendSyslog(conn net.Conn, lines int64) error {
	const head = "<134>1 2026-11-30T10:00:00.000000Z host app 4242 - - "
	var frames []string
	block := string(someLines(2000))
	stream := conn.RemoteAddr().Network() != "unixgram"
	for at := 0; at < len(block); at += lineLen {
		m := head + block[at:at+lineLen-len(head)]
		if stream {
			m = fmt.Sprint(len(m), " ", m)
		}
		frames = append(frames, m)
	}
	if !stream {
		for i := range lines {
			if _, err := conn.Write([]byte(frames[i%2000])); err != nil {
				return err
			}
		}
		return nil
	}
	w := bufio.NewWriterSize(conn, writeLen)
	for i := range lines {
		if _, err := w.WriteString(frames[i%2000]); err != nil {
			return err
		}
	}
	return w.Flush()
}

package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMutations sends conversations that were changed at random. Whatever is
// sent, what comes back are answers, the server lives, a good client beside it
// is served, and what is stored is good.
func TestMutations(t *testing.T) {
	t.Parallel()
	n := int(setting(t, "LOGD_MUTATIONS", 10000)) // requests
	r := random(t)
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, dir, "--topics", "20", "--batch-size", "4KiB", "--partition-size", "256KiB", "--timeout", "5s")
	good := dial(t, s.addr)
	sent, goods := 0, 0
	for i := 0; sent < n; i++ {
		text, requests := conversation(r)
		sent += requests
		text = mutate(r, text)
		answers, err := exchange(s.addr, text)
		if err == nil {
			err = checkAnswers(answers)
		}
		if err != nil {
			t.Fatalf("%q is answered %.1000q: %v", text, answers, err)
		}
		if i%100 == 0 {
			good.append("good", fmt.Sprint(i))
			goods++
		}
	}
	if got := stored(t, s.addr, "good"); len(got) != goods {
		t.Errorf("%d batches of the good client are stored, want %d", len(got), goods)
	}
	if got := good.stat("conns.panics"); got != 0 {
		t.Errorf("%d panics", got)
	}
	s.stop()
	check := exec.Command(built.cli, "check", dir)
	check.Env = environment()
	out, err := check.CombinedOutput()
	if err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}

// TestMutationsChecker makes sure that bad answers are told from good ones.
func TestMutationsChecker(t *testing.T) {
	b := encode("t", "one")
	good := []string{"", "OK\r\n", "ERR not found\r\n", "OK 0 1\r\n" + b + "OK\r\n", "OK 5 0\r\n", "MOK 3\r\nabc\r\nOK\r\n"}
	for _, answers := range good {
		if err := checkAnswers([]byte(answers)); err != nil {
			t.Errorf("%q: %v", answers, err)
		}
	}
	bad := []string{
		"OK\n", "ok\r\n", "ERR\r\n", "ERR no idea\r\n", "OK 0\r\n", "OK 01 1\r\n", "OK -1 1\r\n", "MOK 3\r\nab\r\n", "MOK 3\r\nabcd\r\n",
		"OK 0 1\r\n" + b[:len(b)-1], "OK 0 1\r\n" + strings.Replace(b, "one", "two", 1), "panic\r\n",
	}
	for _, answers := range bad {
		if checkAnswers([]byte(answers)) == nil {
			t.Errorf("%q passes", answers)
		}
	}
}

// conversation returns some requests that make sense, and how many.
func conversation(r *rand.Rand) (text []byte, requests int) {
	var b bytes.Buffer
	for range 1 + r.IntN(4) {
		requests++
		topic := fmt.Sprint("t", r.IntN(5))
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			bodies := make([]string, 1+r.IntN(3))
			for i := range bodies {
				bodies[i] = strings.Repeat("body ", r.IntN(20))
			}
			b.WriteString(encode(topic, bodies...))
		case 4, 5:
			fmt.Fprintf(&b, "READ %s %d %d wait=%d max-bytes=%d\r\n", topic, r.IntN(3)*100, 1+r.IntN(10), r.IntN(3), r.IntN(1000))
		case 6:
			fmt.Fprintf(&b, "TAIL %s %d\r\n", topic, 1+r.IntN(10))
		case 7:
			fmt.Fprintf(&b, "SEEK %s %d\r\nINFO %s\r\n", topic, r.Int64N(1<<41), topic)
			requests++
		case 8:
			b.WriteString([]string{"TOPICS", "STATS", "CONFIG", "PING", "HOOKS", "HELLO 1", "AUTH x", "CLOSE"}[r.IntN(8)] + "\r\n")
		case 9:
			fmt.Fprintf(&b, "RETENTION %s partitions=%d\r\nHOOK %s 0 skip\r\n", topic, r.IntN(5), topic)
			requests++
		}
	}
	return b.Bytes(), requests
}

// mutate changes a text at random.
func mutate(r *rand.Rand, text []byte) []byte {
	for range r.IntN(4) {
		if len(text) == 0 {
			return text
		}
		at := r.IntN(len(text))
		end := at + r.IntN(min(len(text)-at, 30)+1)
		switch r.IntN(9) {
		case 0:
			text[at] ^= 1 << r.IntN(8)
		case 1:
			text = slices.Delete(text, at, end)
		case 2:
			text = slices.Insert(text, at, slices.Clone(text[at:end])...)
		case 3:
			text = text[:at]
		case 4:
			text = slices.Insert(text, at, byte(r.Uint32()))
		case 5:
			text = slices.Insert(text, at, []byte([]string{"9223372036854775808", "-1", "0", "  ", "\r\n", "\n", "=", "/../", strings.Repeat("A", 2000)}[r.IntN(9)])...)
		case 6:
			clear(text[at:end])
		case 7:
			other := r.IntN(len(text))
			text[at], text[other] = text[other], text[at]
		case 8:
			digits := bytes.IndexAny(text[at:], "0123456789")
			if digits >= 0 {
				text[at+digits] = byte('0' + r.IntN(10))
			}
		}
	}
	return text
}

// exchange sends a text on a connection of its own and returns all that comes
// back.
func exchange(addr string, text []byte) ([]byte, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	gone := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) }
	if _, err := c.Write(text); err != nil && !gone(err) {
		return nil, err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		return nil, err
	}
	answers, err := io.ReadAll(c)
	if gone(err) {
		// What was sent after a request that closes the connection makes the
		// kernel reset it, and answers may be lost with that.
		return nil, nil
	}
	return answers, err
}

// checkAnswers reports what is not an answer of the protocol.
func checkAnswers(answers []byte) error {
	in := bufio.NewReader(bytes.NewReader(answers))
	for {
		line, err := readLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		words := strings.Split(line, " ")
		_, isReason := reasons[strings.TrimPrefix(line, "ERR ")]
		switch {
		case line == "OK":
		case words[0] == "ERR" && isReason:
		case words[0] == "MOK" && len(words) == 2:
			size, err := decimal(words[1])
			if err != nil {
				return err
			}
			body := make([]byte, size+2)
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			if !bytes.HasSuffix(body, []byte("\r\n")) {
				return fmt.Errorf("no line end after a body of %d bytes", size)
			}
		case words[0] == "OK" && len(words) == 3:
			offset, err := decimal(words[1])
			if err != nil {
				return err
			}
			if _, err := decimal(words[2]); err != nil {
				return err
			}
			// The answer to a BATCH is followed by no batch.
			for next, _ := in.Peek(6); string(next) == "BATCH "; next, _ = in.Peek(6) {
				b, err := readBatch(in, offset)
				if err != nil {
					return err
				}
				offset = b.end()
			}
		default:
			return fmt.Errorf("%q is no answer", line)
		}
	}
}

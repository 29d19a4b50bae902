package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// FuzzConn sends any bytes to a connection, cut into writes of the given size:
// there is no panic and no hang, all that comes back is well-formed answers,
// and whatever is stored can be read back and is made of valid batches.
func FuzzConn(f *testing.F) {
	for _, request := range transcriptRequests(f) {
		f.Add(request, uint16(4096))
	}
	b := testkit.Batch("t", "one", "two")
	f.Add([]byte(b+"READ t 0 9\r\n"+b+"TAIL t 9 max-bytes=1\r\nINFO t\r\nSEEK t 0\r\nTOPICS\r\nSTATS\r\nCONFIG\r\nCLOSE\r\n"), uint16(7))
	f.Add([]byte(strings.Replace(b, "\r\n", "\n", 1)+"READ t 0 1\n"), uint16(1))
	f.Add([]byte("BATCH 9223372036854775807 t 0 1\r\n"), uint16(100))
	f.Add([]byte(strings.Repeat("BATCH 0 t 0 0\n", 500)), uint16(1000))
	f.Add([]byte(b+fmt.Sprintf("READ t %d 1 wait=1\r\nPING\r\n", len(b))), uint16(50))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		if len(data) > 64<<10 {
			t.Skip("longer than it takes")
		}
		data = endlessWait(data)
		store := topictest.NewMemory()
		store.MaxTopics = 4
		log, logger := logBuffer()
		s := server.New(server.Options{
			Store: store, Logger: logger, Settings: protocol.Settings{MaxBatchSize: 16 << 10, MaxMessages: 100},
			Timeout: 10 * time.Second, IdleTimeout: 10 * time.Second,
		})
		nc, srv := net.Pipe()
		s.ServeConn(srv)
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		go func() {
			// What comes last tells that all before it was dealt with, if the
			// connection is in a state to be told.
			for rest := data; len(rest) > 0; {
				n := min(len(rest), int(size)+1)
				if _, err := nc.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			nc.Write([]byte("\nCLOSE\n"))
			nc.Write(make([]byte, 20<<10)) // the rest of a batch that was begun; a pipe has no half-close
			nc.Close()
		}()
		start := time.Now()
		if err := checkAnswers(nc); err != nil {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		nc.Close()
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if st := s.Stats(); st.Panics > 0 || st.Connections > 0 || st.WaitingReads > 0 {
			t.Errorf("Stats: %+v; logged %s", st, log.String())
		}
		stored := 0
		for _, name := range store.Topics() {
			if !batch.ValidTopic([]byte(name)) || strings.HasPrefix(name, "__") {
				t.Errorf("there is a topic %q", name)
			}
			kept, _ := store.Data(name)
			stored += len(kept)
			checkStored(t, name, kept)
		}
		if stored > 2*len(data) { // a bare LF becomes CR LF, no more
			t.Errorf("%d bytes are stored of %d sent", stored, len(data))
		}
	})
}

// endlessWait takes out waits that are longer than a test should be.
func endlessWait(data []byte) []byte {
	out := bytes.Clone(data)
	for i := 0; ; {
		j := bytes.Index(out[i:], []byte("wait="))
		if j < 0 {
			return out
		}
		i += j + len("wait=")
		if i+1 < len(out) && out[i+1] >= '0' && out[i+1] <= '9' {
			out[i] = '0' // a leading zero: refused
		}
	}
}

// checkAnswers reads answers until the connection ends.
func checkAnswers(nc net.Conn) error {
	in := bufio.NewReader(nc)
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		if line == nil {
			return nil
		}
		r, err := protocol.ParseReply(line)
		if err != nil {
			return fmt.Errorf("the answer %q: %w", line, err)
		}
		switch r.Kind {
		case protocol.ReplyError:
			reason, _, _ := strings.Cut(string(r.Reason), ": ") // what a person gets to know besides
			if _, ok := protocol.ErrorFor(reason); !ok || string(r.Reason) == protocol.ErrInternal.Reason {
				return fmt.Errorf("the answer is %q", line)
			}
		case protocol.ReplyBody:
			body := make([]byte, r.Size+2)
			if _, err := io.ReadFull(in, body); err != nil || !bytes.HasSuffix(body, []byte("\r\n")) {
				return fmt.Errorf("after %q there is %q, %v", line, body, err)
			}
		case protocol.ReplyOffset:
			// A BATCH has 1 too, and no batch after its answer: what follows
			// tells which it is.
			for range r.Batches {
				if next, err := in.Peek(len("BATCH ")); err != nil || string(next) != "BATCH " {
					break
				}
				head, err := readLine(in)
				if err != nil {
					return err
				}
				h, err := batch.ParseHeader(head)
				if err != nil {
					return fmt.Errorf("a batch begins with %q: %w", head, err)
				}
				data := make([]byte, h.Size)
				if _, err := io.ReadFull(in, data); err != nil {
					return err
				}
				if err := batch.Check(&h, data); err != nil {
					return fmt.Errorf("a batch %q that was read: %w", head, err)
				}
			}
		}
	}
}

// readLine reads one line and takes off its end; nil at the end of the
// connection.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if len(line) == 0 && (err == io.EOF || errors.Is(err, io.ErrClosedPipe)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("after %q: %w", line, err)
	}
	if !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, fmt.Errorf("the line %q has no CR LF", line)
	}
	return line[:len(line)-2], nil
}

// checkStored checks that data is valid batches of the topic, in canonical
// form.
func checkStored(t *testing.T, topic string, data []byte) {
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\r\n"))
		h, err := batch.ParseHeader(line)
		if !ok || err != nil || string(h.Topic) != topic || h.Size > int64(len(rest)) {
			t.Fatalf("topic %s: stored %.100q, %v", topic, data, err)
		}
		if err := batch.Check(&h, rest[:h.Size]); err != nil {
			t.Fatalf("topic %s: stored %q: %v", topic, line, err)
		}
		if got := batch.AppendHeader(nil, &h); !bytes.Equal(got, append(bytes.Clone(line), '\r', '\n')) {
			t.Fatalf("topic %s: the line %q is not canonical, %q is", topic, line, got)
		}
		data = rest[h.Size:]
	}
}

// transcriptRequests returns what the transcripts send, a connection each.
func transcriptRequests(t testing.TB) (requests [][]byte) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for session := range strings.SplitSeq(string(text), "\n---\n") {
			var request []byte
			for line := range strings.Lines(session) {
				line = strings.TrimSuffix(line, "\n")
				switch sign, rest, _ := strings.Cut(line, " "); sign {
				case ">":
					request = append(request, unescape(t, rest)+"\r\n"...)
				case "|":
					request = append(request, unescape(t, rest)...)
				}
			}
			requests = append(requests, request)
		}
	}
	return requests
}

// FuzzSession feeds the same bytes to sessions alone, whole and in pieces: the
// answers are the same, and so is what is stored.
func FuzzSession(f *testing.F) {
	for _, request := range transcriptRequests(f) {
		f.Add(request, uint16(0))
		f.Add(request, uint16(10))
	}
	b := testkit.Batch("t", "one", "two")
	f.Add([]byte(b+b+"READ t 0 9\r\nBATCH 10 .t 0 1\r\n0123456789"+b), uint16(3))
	f.Add([]byte(b+fmt.Sprintf("READ t %d 1 wait=1\r\nPING\r\n", len(b))), uint16(5))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		if len(data) > 64<<10 {
			t.Skip("longer than it takes")
		}
		data = endlessWait(data)
		type outcome struct{ answers, stored string }
		feed := func(piece int) (o outcome) {
			store := topictest.NewMemory()
			store.MaxTopics = 4
			s := server.New(server.Options{Store: store, Settings: protocol.Settings{MaxBatchSize: 16 << 10, MaxMessages: 100}})
			defer s.Close()
			nc := server.NewSession(s, piece)
			nc.Write(data) // after the end of a session an error, which shows in the answers
			nc.CloseWrite()
			answers, err := io.ReadAll(nc)
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
			for _, name := range store.Topics() {
				kept, _ := store.Data(name)
				o.stored += fmt.Sprintf("%s %q\n", name, kept)
			}
			o.answers = normalize(string(answers))
			return o
		}
		if whole, pieces := feed(len(data)+1), feed(int(size)+1); whole != pieces {
			t.Errorf("whole: %.1000q\nin pieces of %d: %.1000q", whole, int(size)+1, pieces)
		}
	})
}

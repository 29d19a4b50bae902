package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// person is somebody at a terminal.
type person struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

func newPerson(t *testing.T, n *Node) *person {
	nc, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	return &person{t, nc, bufio.NewReader(nc)}
}

func (p *person) send(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.nc, format+"\r\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

// expect reads a line, and the body that it announces, which it returns.
func (p *person) expect(want string) (body string) {
	p.t.Helper()
	line, err := p.in.ReadString('\n')
	if line = strings.TrimSpace(line); err != nil || !strings.HasPrefix(line, want) {
		p.t.Fatalf("got %q (%v), want %q", line, err, want)
	}
	if size, ok := strings.CutPrefix(line, "MOK "); ok {
		n, _ := strconv.Atoi(size)
		b := make([]byte, n+2)
		if _, err := io.ReadFull(p.in, b); err != nil {
			p.t.Fatal(err)
		}
		return string(b[:n])
	}
	return ""
}

// skip reads the batch that follows an answer.
func (p *person) skip(n int) {
	p.t.Helper()
	if _, err := io.CopyN(io.Discard, p.in, int64(n)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) id(topic string) string {
	p.t.Helper()
	p.send("INFO %s", topic)
	_, rest, ok := strings.Cut(p.expect("MOK"), "Id: ")
	if !ok {
		p.t.Fatal("INFO tells no id")
	}
	return strings.Fields(rest)[0]
}

func batchLines(topic, body string) string {
	var b batch.Builder
	b.Add([]byte(body))
	return strings.TrimSuffix(string(b.Finish(topic)), "\r\n")
}

// Connections keep the log that they have used. One that was deleted they give
// back: those that wait at once, the others at their next request.
func TestDeleteWithConnections(t *testing.T) {
	c := config.Default()
	c.Host, c.HTTPHost, c.WorkDir, c.FlushBatches = "127.0.0.1:0", "", t.TempDir(), 1
	n, err := Start(t.Context(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	operator, writer, reader, waiter, other := newPerson(t, n), newPerson(t, n), newPerson(t, n), newPerson(t, n), newPerson(t, n)
	one := batchLines("t", "one")
	length := len(one) + 2

	writer.send("%s", one)
	writer.expect("OK 0 1")
	reader.send("READ t 0 1")
	reader.expect("OK 0 1")
	reader.skip(length)
	waiter.send("READ t %d 1 wait=20000", length)
	other.send("READ t %d 1 wait=20000", length)
	testkit.Eventually(t, func() string {
		return testkit.Unless(n.server.Load().Stats().WaitingReads == 2, "there are not 2 reads that wait")
	})

	id := operator.id("t")
	operator.send("DELETE t id=%s", strings.Repeat("0", 32))
	operator.expect("ERR not found")
	operator.send("DELETE t id=%s", id)
	operator.expect("OK")
	waiter.expect("ERR not found")
	other.expect("ERR not found")
	reader.send("READ t 0 1")
	reader.expect("ERR not found")
	operator.send("TOPICS")
	if body := operator.expect("MOK"); body != "" {
		t.Errorf("topics after the deletion: %q", body)
	}
	folders, err := os.ReadDir(filepath.Join(c.WorkDir, ".deleted"))
	if err != nil || len(folders) != 1 || !strings.HasPrefix(folders[0].Name(), "t~") {
		t.Errorf("kept %v (%v)", folders, err)
	}

	two := batchLines("t", "the second one")
	writer.send("%s", two)
	writer.expect("OK 0 1")
	if again := operator.id("t"); again == id {
		t.Error("the new topic has the old id")
	}
	operator.send("DELETE t id=%s now=1", id)
	operator.expect("ERR not found")
	for _, p := range []*person{reader, waiter, other} {
		p.send("READ t 0 1")
		p.expect("OK 0 1")
		p.skip(len(two) + 2)
	}
	operator.send("TRIM t %d", len(two)+2)
	operator.expect(fmt.Sprintf("OK %d 0", len(two)+2))
	reader.send("READ t 0 1")
	reader.expect("ERR not found")
}

// Whoever writes to a topic that is deleted again and again gets an OK for each
// batch, from the topic of that moment.
func TestDeleteUnderWriters(t *testing.T) {
	for _, flush := range []int{0, 1} {
		c := config.Default()
		c.Host, c.HTTPHost, c.WorkDir, c.FlushBatches = "127.0.0.1:0", "", t.TempDir(), flush
		n, err := Start(t.Context(), Options{Config: c, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		const writers, batches = 4, 300
		var g sync.WaitGroup
		for range writers {
			p := newPerson(t, n)
			line := batchLines("t", "message")
			g.Go(func() {
				go func() {
					if _, err := io.WriteString(p.nc, strings.Repeat(line+"\r\n", batches)); err != nil {
						t.Error(err)
					}
				}()
				for i := range batches {
					if answer, err := p.in.ReadString('\n'); err != nil || !strings.HasPrefix(answer, "OK ") {
						t.Errorf("batch %d: %q (%v)", i, answer, err)
						return
					}
				}
			})
		}
		written := make(chan struct{})
		go func() { g.Wait(); close(written) }()
		operator, deleted := newPerson(t, n), 0
		for done := false; !done; {
			select {
			case <-written:
				done = true
			default:
				operator.send("INFO t")
				line, err := operator.in.ReadString('\n')
				size, found := strings.CutPrefix(strings.TrimSpace(line), "MOK ")
				if err != nil || !found && line != "ERR not found\r\n" {
					t.Fatalf("INFO: %q (%v)", line, err)
				}
				if !found {
					continue
				}
				length, _ := strconv.Atoi(size)
				body := make([]byte, length+2)
				if _, err := io.ReadFull(operator.in, body); err != nil {
					t.Fatal(err)
				}
				_, rest, _ := strings.Cut(string(body), "Id: ")
				operator.send("DELETE t id=%s now=1", strings.Fields(rest)[0])
				operator.expect("OK")
				deleted++
			}
		}
		t.Logf("flush-batches %d: deleted %d times", flush, deleted)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

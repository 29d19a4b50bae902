package script_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// recorder is a test whose failures are only noted.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// end ends the test and returns its failures.
func (r *recorder) end() string {
	for _, f := range r.cleanups {
		f()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.errors, "; ")
}

// batch is one of the message "a".
const batch = "BATCH 10 t 1804709156 1\r\nMSG 1\r\na\r\n"

// dial connects to the script.
func dial(t *testing.T, s *script.Script) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(script.StepTimeout))
	return c, bufio.NewReader(c)
}

func TestScriptPlays(t *testing.T) {
	s := script.New(t)
	waited := make(chan struct{})
	played := 0
	s.Play(
		script.Accept(),
		script.Expect("PING"), script.Answer("OK\r\n"),
		script.Expect("CONFIG"), script.AnswerConfig(1234),
		script.Until(waited), script.Do(func() { played++ }),
		script.Garbage(10, 7), script.Cut(),
	)
	c, br := dial(t, s)
	io.WriteString(c, "PING\r\nCONFIG\r\n")
	for _, want := range []string{"OK", "MOK 71", "Host: 127.0.0.1:0", "Timeout: 15s", "IdleTimeout: 30s", "MaxBatchSize: 1234", ""} {
		line, err := br.ReadString('\n')
		if err != nil || line != want+"\r\n" {
			t.Fatalf("read %q, %v, want %q", line, err, want)
		}
	}
	close(waited)
	rest, err := io.ReadAll(br)
	if err != nil || len(rest) != 10 {
		t.Errorf("read %q, %v, want 10 bytes and the end", rest, err)
	}
	s.Wait()
	if played != 1 {
		t.Errorf("Do was played %d times", played)
	}
}

func TestScriptResets(t *testing.T) {
	s := script.New(t)
	c, br := dial(t, s)
	s.Play(script.Accept(), script.ExpectBytes(3), script.Reset())
	io.WriteString(c, "PING\r\n")
	if _, err := br.ReadByte(); err == nil || err == io.EOF {
		t.Errorf("read ends with %v, want a reset", err)
	}
	// And it is not there for a while.
	s.Play(script.Refuse())
	s.Wait()
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Error("connected to a server that refuses")
	}
	s.Play(script.Listen())
	s.Wait()
	s.Play(script.Accept(), script.ExpectClose())
	c, _ = dial(t, s)
	c.Close()
	s.Wait()
}

// A step that does not come to pass fails the test, and says which it was.
func TestScriptFails(t *testing.T) {
	tests := []struct {
		name  string
		steps []script.Step
		sends string
		says  []string
	}{
		{"another request", []script.Step{script.Expect("PING")}, "CONFIG\r\n", []string{"step 2", `Expect "PING"`, `"CONFIG"`}},
		{"no request", []script.Step{script.Expect("PING")}, "NONSENSE\r\n", []string{"step 2", "NONSENSE"}},
		{"half a request", []script.Step{script.Expect("PING")}, "PI", []string{"step 2", `"PI"`}},
		{"other messages", []script.Step{script.ExpectBatch("t", "b")}, batch, []string{"step 2", `"a"`}},
		{"a damaged batch", []script.Step{script.Expect("BATCH")}, "BATCH 10 t 1 1\r\nMSG 1\r\na\r\n", []string{"step 2", "checksum"}},
		{"half a batch", []script.Step{script.Expect("BATCH")}, batch[:30], []string{"step 2", "not its data"}},
		{"no end", []script.Step{script.ExpectClose()}, "x", []string{"step 2", "ExpectClose", `"x"`}},
		{"too early", []script.Step{script.ExpectNothing(script.StepTimeout)}, "x", []string{"step 2", "ExpectNothing", `"x"`}},
		{"too few bytes", []script.Step{script.ExpectBytes(3)}, "xy", []string{"step 2", "ExpectBytes 3", "2 bytes"}},
		{"no connection", []script.Step{script.Reset(), script.Answer("OK\r\n")}, "", []string{"step 3", "no connection"}},
		{"listens twice", []script.Step{script.Listen()}, "", []string{"step 2", "listens already"}},
		{"refuses twice", []script.Step{script.Refuse(), script.Refuse()}, "", []string{"step 3", "does not listen"}},
		{"accepts nothing", []script.Step{script.Refuse(), script.Accept()}, "", []string{"step 3", "does not listen"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{TB: t}
			s := script.New(r)
			c, _ := dial(t, s)
			io.WriteString(c, tt.sends)
			c.(*net.TCPConn).CloseWrite()
			s.Play(script.Accept())
			s.Play(tt.steps...)
			got := r.end()
			for _, part := range tt.says {
				if !strings.Contains(got, part) {
					t.Errorf("the test fails with %q, which does not say %q", got, part)
				}
			}
			if strings.Contains(got, ";") {
				t.Errorf("more than one failure: %s", got)
			}
		})
	}
}

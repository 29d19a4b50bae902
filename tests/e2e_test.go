package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// input is lines for log-cli.
type input struct {
	name string
	text string
}

// lines returns what log-cli read prints of the text: it, and a line feed that
// was missing at its end.
func (in input) lines() string {
	if strings.HasSuffix(in.text, "\n") {
		return in.text
	}
	return in.text + "\n"
}

// realLogs is where logs of real systems are, if they are.
const realLogs = "../../shared/data/*.log"

// inputs returns logs of real systems, or what looks like some, and in any case
// one that has everything that is hard.
func inputs(t testing.TB) []input {
	t.Helper()
	names, err := filepath.Glob(realLogs)
	if err != nil {
		t.Fatal(err)
	}
	all := []input{{"hard", hardLines()}}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, input{strings.TrimSuffix(filepath.Base(name), ".log"), string(text)})
	}
	for i := len(all); i < 8; i++ {
		all = append(all, input{fmt.Sprintf("generated-%d", i), generated(i)})
	}
	return all
}

// hardLines are lines that are easily changed on their way.
func hardLines() string {
	return "plain\nends with CRLF\r\n\r\n\n\na lone \r inside\n\ttab \x00 NUL\nnot UTF-8: \xff\xfe\xc3(\nUTF-8: żółć, 日本\n" +
		"MSG 5\nBATCH 1 x 1 1\r\nOK 0 1\n " + strings.Repeat("a line of 60 KB ", 60*64) + "\n\r\r\r\nlast line, without an end"
}

// generated returns 2,000 lines as a system may log them.
func generated(seed int) string {
	var b strings.Builder
	for i := range 2000 {
		end := "\n"
		if (i+seed)%11 == 0 {
			end = "\r\n"
		}
		fmt.Fprintf(&b, "%02d:%02d:%02d host-%d service[%d]: request %x took %d ms%s%s",
			i/3600, i/60%60, i%60, seed, 100+i%7, i*i*2654435761, i*37%1009, strings.Repeat(" and more", (i*seed)%23), end)
	}
	return b.String()
}

// TestEndToEnd sends logs through log-cli, logd and log-cli again.
func TestEndToEnd(t *testing.T) {
	for _, in := range inputs(t) {
		t.Run(in.name, func(t *testing.T) {
			t.Parallel()
			endToEnd(t, in)
		})
	}
}

func endToEnd(t *testing.T, in input) {
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, dir, "--partition-size", "128KiB", "--partitions", "1000")
	run := func(stdin string, args ...string) string {
		t.Helper()
		r := runCLI(t, s.addr, stdin, append(args, "--topic", in.name)...)
		if r.code != 0 || r.stderr != "" {
			t.Fatalf("log-cli %q exits with %d and says %q", args, r.code, r.stderr)
		}
		return r.stdout
	}
	offsets := run(in.text, "write")
	count := strings.Count(in.lines(), "\n")
	limit := fmt.Sprint(count)
	equal(t, "what was read", run("", "read", "--limit", limit), in.lines())
	equal(t, "what was read to the end", run("", "read", "--limit", "0"), in.lines())
	equal(t, "the last lines", run("", "read", "--last", limit), in.lines())

	// The names of batches and messages are those that the protocol has.
	var wantOffsets, wantNumbers strings.Builder
	c := dial(t, s.addr)
	for _, b := range c.all(in.name, 0) {
		fmt.Fprintln(&wantOffsets, b.offset)
		for _, m := range b.messages {
			fmt.Fprintf(&wantNumbers, "%d.%d %s\n", b.offset, m.delta, m.body)
		}
	}
	equal(t, "the offsets that write prints", offsets, wantOffsets.String())
	equal(t, "numbered lines", run("", "read", "--limit", "0", "-n"), wantNumbers.String())
	equal(t, "lines as JSON", fromJSON(t, run("", "read", "--limit", "0", "-o", "json")), in.lines())

	followed := followNew(t, s, in.name, func(line string) { run(line, "write") })
	s.kill()
	s = start(t, dir)
	equal(t, "after kill -9", run("", "read", "--limit", "0"), in.lines()+followed)
	s.stop()
	s = start(t, dir)
	equal(t, "after SIGTERM", run("", "read", "--limit", "0"), in.lines()+followed)
}

// followNew starts a reader that waits at the end and writes lines: each is
// shown when it is written, before the next one is. It returns the lines.
func followNew(t *testing.T, s *server, topic string, write func(line string)) string {
	t.Helper()
	c := dial(t, s.addr)
	cmd := cli(t, s.addr, "read", "-F", "--topic", topic, "--last", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	var all strings.Builder
	for i := range 5 {
		eventually(t, "log-cli read -F waits", func() bool { return c.stat("reads.waiting") == 1 })
		line := fmt.Sprintf("news %d\r\n", i)
		write(line)
		if got, err := in.ReadString('\n'); err != nil || got != line {
			t.Fatalf("a reader that follows shows %q, %v, want %q", got, err, line)
		}
		all.WriteString(line)
	}
	// An interrupt is its one good end.
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(in)
	if werr := cmd.Wait(); werr != nil || err != nil || len(rest) > 0 {
		t.Errorf("after an interrupt a reader that follows ends with %v, having shown %q more, %v", werr, rest, err)
	}
	return all.String()
}

// fromJSON makes lines of what read -o json prints.
func fromJSON(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		var m struct {
			Body       *string
			BodyBase64 []byte `json:"body_base64"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || (m.Body == nil) == (m.BodyBase64 == nil) {
			t.Fatalf("%.200q is no message: %v", line, err)
		}
		if m.Body != nil {
			b.WriteString(*m.Body)
		}
		b.Write(m.BodyBase64)
		b.WriteByte('\n')
	}
	return b.String()
}

// equal compares long texts.
func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if err := sameStream(strings.NewReader(got), strings.NewReader(want)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// sameStream compares two streams to their ends.
func sameStream(got, want io.Reader) error {
	const chunk = 64 << 10
	a, b := make([]byte, chunk), make([]byte, chunk)
	for pos := int64(0); ; {
		n, err := io.ReadFull(got, a)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		m, werr := io.ReadFull(want, b)
		if werr != nil && werr != io.EOF && werr != io.ErrUnexpectedEOF {
			return werr
		}
		if !bytes.Equal(a[:n], b[:m]) {
			i := 0
			for i < min(n, m) && a[i] == b[i] {
				i++
			}
			return fmt.Errorf("differs at byte %d: got %.60q, want %.60q", pos+int64(i), a[i:n], b[i:m])
		}
		pos += int64(n)
		if err != nil {
			return nil
		}
	}
}

// repeated is a text so many times over.
type repeated struct {
	text  string
	times int64
	rest  string
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.times == 0 {
			return 0, io.EOF
		}
		r.times--
		r.rest = r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestEndToEndVolume writes all logs over and over into topics of their own at
// once, while a reader follows each, kills the server and reads all again.
func TestEndToEndVolume(t *testing.T) {
	t.Parallel()
	all := inputs(t)
	total := setting(t, "LOGD_E2E_BYTES", 64_000_000)
	dir := filepath.Join(t.TempDir(), "data")
	flags := []string{"--partition-size", "1MiB", "--partitions", "1000000"}
	s := start(t, dir, flags...)
	times := func(in input) int64 { return 1 + total/int64(len(all))/int64(len(in.lines())) }
	source := func(in input) io.Reader { return &repeated{text: in.lines(), times: times(in)} }
	errs := make([]error, 2*len(all))
	var group sync.WaitGroup
	for i, in := range all {
		cmd := cli(t, s.addr, "write", "--topic", in.name)
		cmd.Stdin, cmd.Stdout = source(in), io.Discard
		group.Go(func() { errs[2*i] = runQuietly(cmd) })
	}
	c := dial(t, s.addr)
	for i, in := range all {
		eventually(t, "the topic is there", func() bool { return slices.Contains(strings.Split(c.ask("TOPICS"), "\r\n"), in.name) })
		limit := fmt.Sprint(times(in) * int64(strings.Count(in.lines(), "\n")))
		cmd := cli(t, s.addr, "read", "-F", "--topic", in.name, "--limit", limit)
		group.Go(func() { errs[2*i+1] = compare(cmd, source(in)) })
	}
	group.Wait()
	failOn(t, errs)

	s.kill()
	s = start(t, dir, flags...)
	c = dial(t, s.addr)
	for i, in := range all {
		if c.number(in.name, "Partitions") < 2 {
			t.Errorf("topic %s has one partition", in.name)
		}
		cmd := cli(t, s.addr, "read", "--topic", in.name, "--limit", "0")
		group.Go(func() { errs[i] = compare(cmd, source(in)) })
	}
	group.Wait()
	failOn(t, errs)
}

func failOn(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// runQuietly runs a command that must not have anything to say.
func runQuietly(cmd *exec.Cmd) error {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		return fmt.Errorf("%q: %v %s", cmd.Args[1:], err, &stderr)
	}
	return nil
}

// compare runs a command whose standard output has to be want.
func compare(cmd *exec.Cmd, want io.Reader) error {
	out, to := io.Pipe()
	cmd.Stdout = to
	compared := make(chan error, 1)
	go func() {
		err := sameStream(out, want)
		out.Close() // ends a command that has more to say
		compared <- err
	}()
	err := runQuietly(cmd)
	to.Close()
	if cerr := <-compared; cerr != nil {
		return fmt.Errorf("%q: %w", cmd.Args[1:], cerr)
	}
	return err
}

// TestSameStream makes sure that a difference is found wherever it is.
func TestSameStream(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 20_000)
	for _, other := range []string{"", long[1:], long[:len(long)-1], long + "x", long[:100_000] + "x" + long[100_001:]} {
		if sameStream(strings.NewReader(long), strings.NewReader(other)) == nil || sameStream(strings.NewReader(other), strings.NewReader(long)) == nil {
			t.Errorf("no difference is found where one text has %d bytes, the other %d", len(long), len(other))
		}
	}
	if err := sameStream(strings.NewReader(long+long), &repeated{text: long, times: 2}); err != nil {
		t.Error(err)
	}
}

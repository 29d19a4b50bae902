package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// call is a system call that strace saw.
type call struct {
	name, args string
	result     int64
}

// traced are the calls that move data.
const traced = "read,readv,pread64,preadv,preadv2,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendfile,splice,copy_file_range,mmap"

// TestSystemCalls counts what a write and a read cost: one write call for a
// batch, and no copy of what is read through the process.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		cannot(t, "needs strace: %v", err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	if out, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		cannot(t, "strace may not trace here: %v: %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "data")
	// -D: the child is logd, as it is for launch without strace.
	s := launch(t, []string{strace, "-D", "-f", "-y", "-s", "0", "-e", "signal=none", "-e", "trace=" + traced, "-o", trace}, dir)
	s.addr = s.await("logd takes requests")["addr"].(string)
	c := dial(t, s.addr)
	const batches = 8
	body := strings.Repeat("0123456789abcdef", 64<<10/16-4)
	var length int64
	for range batches {
		c.append("t", body)
		length += int64(len(encode("t", body)))
	}
	if length < batches*65_000 {
		t.Fatalf("%d bytes are not what this test wants to write", length)
	}
	if got := c.read("t", 0, batches); len(got) != batches {
		t.Fatalf("READ gives %d batches, want %d", len(got), batches)
	}
	c.close()
	s.stop()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := parseTrace(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range judgeCalls(calls, "/t/0.log>", batches, length) {
		t.Error(problem)
	}
}

// judgeCalls says what is wrong with the calls of a server that was given so
// many batches of so many bytes in all, one after another, and read them once.
func judgeCalls(calls []call, file string, batches int, length int64) (problems []string) {
	var writes int
	var written, sent, copied, toSocket int64
	for _, c := range calls {
		ofFile := strings.Contains(c.args, file)
		n := max(c.result, 0)
		switch {
		case c.name == "sendfile" && ofFile:
			sent += n
		case ofFile && strings.HasPrefix(c.name, "pwrite"), ofFile && strings.HasPrefix(c.name, "write"):
			writes++
			written += n
		case ofFile: // read, pread64, mmap, …
			copied += n
		case strings.Contains(c.args, "<TCP:") || strings.Contains(c.args, "<socket:"):
			if !strings.Contains(c.name, "read") {
				toSocket += n
			}
		}
	}
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if writes > batches || written != length {
		report("%d calls have written %d bytes, want at most %d calls and %d bytes", writes, written, batches, length)
	}
	if sent != length {
		report("sendfile has sent %d bytes, want %d", sent, length)
	}
	// Envelopes are looked at, and answers have a first line.
	if most := length / 8; copied > most || toSocket > most {
		report("%d bytes of the partition were read and %d written to sockets, want at most %d", copied, toSocket, most)
	}
	return problems
}

var (
	wholeCall   = regexp.MustCompile(`^(\d+) +(\S+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)`)
	begunCall   = regexp.MustCompile(`^(\d+) +(\S+)\((.*)<unfinished \.\.\.>$`)
	resumedCall = regexp.MustCompile(`^(\d+) +<\.\.\. (\S+) resumed>(.*)\) += (-?\d+|0x[0-9a-f]+|\?)`)
)

// parseTrace parses what strace -f -y writes.
func parseTrace(text string) (calls []call, err error) {
	begun := make(map[string]string) // arguments, by thread
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := begunCall.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[3]
			continue
		}
		m := wholeCall.FindStringSubmatch(line)
		if m == nil {
			if m = resumedCall.FindStringSubmatch(line); m == nil {
				if strings.Contains(line, "+++") || strings.Contains(line, "---") {
					continue // the end of a thread, or a signal
				}
				return nil, fmt.Errorf("strace says %q", line)
			}
			m[3] = begun[m[1]] + m[3]
		}
		n, err := strconv.ParseInt(m[4], 0, 64)
		if err != nil {
			n = -1
		}
		calls = append(calls, call{m[2], m[3], n})
	}
	return calls, nil
}

// TestSystemCallsControl judges servers that do it otherwise.
func TestSystemCallsControl(t *testing.T) {
	const write = "7 pwrite64(9</d/t/0.log>, \"\"..., 800, 0) = 800\n"
	for name, trace := range map[string]string{
		"":               write + "7 sendfile(8<socket:[1]>, 9</d/t/0.log>, [0] => [800], 800 <unfinished ...>\n8  ???( <unfinished ...>\n8 +++ exited with 0 +++\n7 <... sendfile resumed>) = 800\n",
		"read and write": write + "7 pread64(9</d/t/0.log>, \"\"..., 800, 0) = 800\n7 write(8<socket:[1]>, \"\"..., 800) = 800\n",
		"also read":      write + "7 pread64(9</d/t/0.log>, \"\"..., 800, 0) = 800\n7 sendfile(8<socket:[1]>, 9</d/t/0.log>, [0] => [800], 800) = 800\n",
		"two writes": "7 write(9</d/t/0.log>, \"\"..., 30) = 30\n7 write(9</d/t/0.log>, \"\"..., 770) = 770\n" +
			"7 sendfile(8<socket:[1]>, 9</d/t/0.log>, [0] => [800], 800) = 800\n",
	} {
		calls, err := parseTrace(trace)
		if err != nil {
			t.Fatal(err)
		}
		if problems := judgeCalls(calls, "/t/0.log>", 1, 800); (len(problems) > 0) != (name != "") {
			t.Errorf("%q: problems %q", name, problems)
		}
	}
}

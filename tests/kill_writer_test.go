package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
)

// writerProcess is the environment variable that makes the test's program a process
// that writes, and is killed.
const writerProcess = "LOGD_TEST_WRITER"

// writeUntilKilled is that process: it writes messages "LIFE NUMBER" through a Writer
// with a backlog on disk, and says of each what it was told: "stored NUMBER OFFSET" or
// "kept NUMBER". At the end of its input it delivers everything and ends.
func writeUntilKilled() error {
	var life int
	var plain bool
	var seed uint64
	var addrFile, path string
	if _, err := fmt.Sscan(os.Getenv(writerProcess), &life, &plain, &seed, &addrFile, &path); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 3))
	kept, err := backlog.OpenDisk(backlog.DiskConfig{Path: path, NoSync: true})
	if err != nil {
		return err
	}
	defer kept.Close()
	client, err := logd.NewClient(logd.ClientConfig{
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			addr, err := os.ReadFile(addrFile) // where the server is now
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, string(addr))
		},
		ReconnectMin: time.Millisecond, ReconnectMax: 20 * time.Millisecond, ReconnectAttempts: logd.Unlimited,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	w, err := logd.NewLogWriter(client, "t", func(cfg *logd.WriterConfig) {
		cfg.BatchMessages, cfg.BatchAge, cfg.InFlight = 1+r.Int64N(20), time.Millisecond, 1+r.IntN(16)
		cfg.Backlog, cfg.NoSequence, cfg.WhenFull, cfg.TrimNewline = kept, plain, logd.Block, false
		cfg.Patience = time.Duration(1 + r.Int64N(int64(100*time.Millisecond)))
	})
	if err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	for n := 0; ; n++ {
		select {
		case <-over:
			if err := w.Close(); err != nil {
				return err
			}
			fmt.Printf("doubt %d\n", w.Stats().InDoubt)
			return nil
		default:
		}
		err := w.WriteFunc(context.Background(), fmt.Appendf(nil, "%d %d", life, n), func(res logd.WriteResult) {
			switch {
			case res.Err == nil:
				fmt.Printf("stored %d %d\n", n, res.Offset)
			case errors.Is(res.Err, logd.ErrBacklogged):
				fmt.Printf("kept %d\n", n)
			default:
				fmt.Printf("lost %d %v\n", n, res.Err)
			}
		})
		if err != nil {
			return err
		}
		if r.IntN(20) == 0 {
			time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
		}
	}
}

// writerLife is one of the processes, and what it has said.
type writerLife struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}

	mu     sync.Mutex
	at     map[int]int64 // offsets of what is stored
	known  int           // so many messages are stored or kept
	kept   int
	doubt  string
	stderr strings.Builder
	odd    []string // what it should not say
}

func startWriter(t *testing.T, life int, plain bool, r *rand.Rand, addrFile, path string) *writerLife {
	t.Helper()
	l := &writerLife{cmd: exec.Command(os.Args[0]), ended: make(chan struct{}), at: make(map[int]int64)}
	l.cmd.Env = environment(fmt.Sprintf("%s=%d %v %d %s %s", writerProcess, life, plain, r.Uint64(), addrFile, path))
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.cmd.Stderr = &l.stderr
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.stdin = stdin
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			l.said(lines.Text())
		}
		l.cmd.Wait()
	}()
	t.Cleanup(func() {
		l.cmd.Process.Kill()
		<-l.ended
	})
	return l
}

func (l *writerLife) said(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	words := strings.Fields(line)
	n, err := strconv.Atoi(words[min(1, len(words)-1)])
	switch {
	case err == nil && words[0] == "stored" && len(words) == 3:
		l.at[n], _ = strconv.ParseInt(words[2], 10, 64)
		l.known = max(l.known, n+1)
	case err == nil && words[0] == "kept":
		l.kept++
		l.known = max(l.known, n+1)
	case words[0] == "doubt":
		l.doubt = words[1]
	default:
		l.odd = append(l.odd, line)
	}
}

// checkWriters compares what is stored with what the processes said: of each, the
// messages up to one of them are stored, each once and in order, also all that it said
// are stored or kept, and where it said.
func checkWriters(in []place, lives []*writerLife) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	next := make([]int, len(lives))
	for _, m := range in {
		var life, n int
		if _, err := fmt.Sscan(m.body, &life, &n); err != nil || life >= len(lives) {
			report("nobody's: %v", m)
			continue
		}
		if n != next[life] {
			report("process %d: %v where number %d is next", life, m, next[life])
			continue
		}
		next[life]++
		if offset, ok := lives[life].at[n]; ok && offset != m.offset && offset != -1 {
			report("process %d: %v, which it was told is at %d", life, m, offset)
		}
	}
	for i, l := range lives {
		if next[i] < l.known {
			report("process %d: %d messages are stored, and it was told of %d that they are or will be", i, next[i], l.known)
		}
		for _, line := range l.odd {
			report("process %d says %q", i, line)
		}
	}
	return problems
}

// TestKillWriter kills programs that write, and the server, again and again, and has the
// topic take less and more. The programs have a backlog on disk, which the next one goes
// on with: in the end each message is stored once, and in order, of those that the killed
// programs had in memory perhaps the last ones not at all. The control is the same
// without numbers: some are stored twice.
func TestKillWriter(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		t.Run(map[bool]string{false: "numbered", true: "control"}[plain], func(t *testing.T) {
			t.Parallel()
			cycles := int(setting(t, "LOGD_KILL_CYCLES", 12))
			if plain {
				cycles = 1000 // it ends as soon as something is stored twice
			}
			r := random(t)
			scratch := t.TempDir()
			dir, addrFile, path := filepath.Join(scratch, "data"), filepath.Join(scratch, "addr"), filepath.Join(scratch, "backlog")
			keep := []string{"--partitions", "100000"}
			begin := func() *server {
				s := start(t, dir, append(slices.Clone(keep),
					"--partition-size", []string{"64KiB", "100MiB"}[r.IntN(2)], "--flush-batches", fmt.Sprint(r.IntN(2)))...)
				if err := os.WriteFile(addrFile+".new", []byte(s.addr), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(addrFile+".new", addrFile); err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := begin()
			limit := func(size int64) { // of the topic's batches
				t.Helper()
				client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if _, err := client.Command(t.Context(), fmt.Sprintf("SETTING batch-size %d topic=t", size)); err != nil {
					t.Fatal(err)
				}
			}
			lives := []*writerLife{startWriter(t, 0, plain, r, addrFile, path)}
			kills, doubles := 0, 0
			for range cycles {
				time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
				if r.IntN(3) > 0 {
					s.kill()
					kills++
					time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
					if r.IntN(3) > 0 {
						s = begin()
					}
				}
				if r.IntN(2) == 0 && s.running() {
					limit([]int64{150, 200, 400, 65536}[r.IntN(4)])
				}
				if r.IntN(2) == 0 {
					l := lives[len(lives)-1]
					l.cmd.Process.Kill()
					<-l.ended
					lives = append(lives, startWriter(t, len(lives), plain, r, addrFile, path))
				}
				if !s.running() {
					s = begin()
				}
				if plain {
					if doubles = countDoubles(places(stored(t, s.addr, "t"))); doubles > 0 {
						break
					}
				}
			}
			limit(65536) // what may be stored is not split
			last := lives[len(lives)-1]
			last.stdin.Close()
			// Most messages are in the backlog, in small batches: on a busy disk that takes a while.
			for had, over := -1, false; !over; {
				select {
				case <-last.ended:
					over = true
				case <-time.After(patience):
					n := len(stored(t, s.addr, "t"))
					if n == had {
						t.Fatalf("the last process does not end, and nothing more is stored than %d batches; it says %q, %s", n, last.odd, &last.stderr)
					}
					had = n
				}
			}
			if code := last.cmd.ProcessState.ExitCode(); code != 0 {
				t.Fatalf("exit code %d: %s", code, &last.stderr)
			}
			in := places(stored(t, s.addr, "t"))
			s.stop()
			kept := 0
			for _, l := range lives {
				kept += l.kept
			}
			t.Logf("%d kills of the server, %d of the writer; %d messages are stored, %d were kept meanwhile; %d are stored twice",
				kills, len(lives)-1, len(in), kept, countDoubles(in))
			if plain {
				if doubles == 0 {
					t.Error("without numbers nothing is stored twice: the test shows nothing")
				}
				return
			}
			for _, problem := range checkWriters(in, lives) {
				t.Error(problem)
			}
			if last.doubt != "0" {
				t.Errorf("%s messages are in doubt", last.doubt)
			}
			if t.Failed() || len(in) < 100 {
				return
			}
			for name, broken := range map[string][]place{
				"one twice":     append(slices.Clone(in), in[len(in)-1]),
				"one missing":   slices.Delete(slices.Clone(in), len(in)/2, len(in)/2+1),
				"two exchanged": append(append(slices.Clone(in[:10]), in[11], in[10]), in[12:]...),
			} {
				if len(checkWriters(broken, lives)) == 0 {
					t.Errorf("%s is not found", name)
				}
			}
		})
	}
}

// countDoubles returns how many messages are stored more than once.
func countDoubles(in []place) (n int) {
	seen := make(map[string]bool)
	for _, m := range in {
		if seen[m.body] {
			n++
		}
		seen[m.body] = true
	}
	return n
}

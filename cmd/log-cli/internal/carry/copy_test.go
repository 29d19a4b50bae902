package carry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	_ "github.com/logd-dev/logd/codec/s2"
	_ "github.com/logd-dev/logd/codec/zstd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
)

// run runs one of the commands against the server at addr.
func run(t *testing.T, addr string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), a.Root(Commands(a), nil), args)
	return code, out.String(), errs.String()
}

// pairOf is a source and a target, and a copy between them.
type pairOf struct {
	t        *testing.T
	from, to *logdtest.Server
	state    string
}

func newPair(t *testing.T, options ...logdtest.Option) *pairOf {
	return &pairOf{t, logdtest.Start(t), logdtest.Start(t, options...), filepath.Join(t.TempDir(), "state")}
}

// write appends a batch of n messages to the source.
func (p *pairOf) write(first, n int) {
	p.t.Helper()
	var b logd.Batch
	for i := range n {
		b.Add(fmt.Appendf(nil, "message %d", first+i))
	}
	if _, err := p.from.Client(p.t).Append(p.t.Context(), "t", &b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pairOf) copy(wantCode int, wantStderr string, more ...string) {
	p.t.Helper()
	args := append([]string{"copy", "t", "--to-host", p.to.Addr()}, more...)
	if p.state != "" {
		args = append(args, "--state", p.state)
	}
	if code, stdout, stderr := run(p.t, p.from.Addr(), args...); code != wantCode || !strings.Contains(stderr, wantStderr) {
		p.t.Fatalf("exit code %d, want %d: %s%s, want %q", code, wantCode, stdout, stderr, wantStderr)
	}
}

// want compares what the target has.
func (p *pairOf) want(messages int) {
	p.t.Helper()
	s, err := logd.NewScanner(p.t.Context(), p.to.Client(p.t), "t", logd.ScannerConfig{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for s.Scan() {
		n++
		if got, want := string(s.Message().Body), fmt.Sprintf("message %d", n); got != want {
			p.t.Fatalf("%s, want %s", got, want)
		}
	}
	if s.Err() != nil || n != messages {
		p.t.Fatalf("%d messages, %v, want %d", n, s.Err(), messages)
	}
}

// lines returns the lines of the state's file.
func (p *pairOf) lines() []string {
	p.t.Helper()
	text, err := os.ReadFile(p.state)
	if err != nil {
		p.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	return lines[:len(lines)-1]
}

func (p *pairOf) setLines(lines ...string) {
	p.t.Helper()
	if err := os.WriteFile(p.state, []byte(strings.Join(lines, "")), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// Whatever state a run has ended in, the next one stores each message once.
func TestCopyFromEarlierState(t *testing.T) {
	p := newPair(t, logdtest.BatchSize(200))
	for i := range 60 {
		p.write(1+10*i, 10)
	}
	p.copy(0, "")
	p.want(600)
	lines := p.lines()
	if len(lines) < 10 {
		t.Fatalf("%d lines: the state is saved seldom", len(lines))
	}
	// As it was before the last batches were sent, and with a line that was cut short.
	for _, from := range []int{1, 2} {
		earlier := lines[:len(lines)-from]
		p.setLines(append(earlier[:len(earlier):len(earlier)], "t 0a 0")...)
		p.copy(0, "")
		p.want(600)
	}
	// And it goes on from there.
	p.write(601, 3)
	p.copy(0, "")
	p.want(603)
}

// A target with another batch-size makes other batches of what was under way. What it
// has is found by its messages.
func TestCopyToOtherBatchSize(t *testing.T) {
	p := newPair(t, logdtest.BatchSize(200))
	for i := range 60 {
		p.write(1+10*i, 10)
	}
	p.copy(0, "")
	lines := p.lines()
	p.setLines(lines[:len(lines)-1]...)
	dir := p.to.WorkDir()
	p.to.Stop()
	p.to = logdtest.Start(t, logdtest.WorkDir(dir), logdtest.BatchSize(1000))
	p.write(601, 10)
	p.copy(0, "")
	p.want(610)
}

// A target that has lost what it had answered is told, and gets nothing.
func TestCopyToLostTail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "to")
	p := newPair(t, logdtest.WorkDir(dir))
	p.write(1, 2)
	p.copy(0, "")
	p.to.Stop()
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	p.to.Restart()
	p.write(3, 2)
	p.copy(0, "")
	p.want(4)
	p.to.Stop()
	if err := errors.Join(os.RemoveAll(dir), os.Rename(before, dir)); err != nil {
		t.Fatal(err)
	}
	p.to.Restart()
	p.write(5, 2)
	p.copy(exit.Failed, `topic "t" has lost what it had: it knows 1 batch of this copy, and had answered that it has 2`)
	p.want(2)
}

// What was under way when a run ended, and is gone at the source now, can't be told from
// what is yet to be sent.
func TestCopyGoneMeanwhile(t *testing.T) {
	p := newPair(t)
	for i := range 30 {
		p.write(1+i, 1)
	}
	p.copy(0, "")
	lines := p.lines()
	p.setLines(lines[:2]...)
	p.write(31, 1)
	info, err := p.from.Client(t).Info(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	p.from.Client(t).Command(t.Context(), fmt.Sprintf("TRIM t %d", info.Next))
	p.write(32, 1)
	p.copy(exit.NotFound, "is gone or damaged, and topic", "--or-oldest")
	p.want(30)
	// A copy that was whole goes on, if the user does not mind.
	p.setLines(lines...)
	p.copy(exit.NotFound, "(--or-oldest goes on from there)")
	p.copy(0, "going on from the oldest", "--or-oldest")
	if got, err := p.to.Client(t).Info(t.Context(), "t"); err != nil || got.Messages != 31 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A position that is moved by hand is where the next run goes on; a run that is under
// way meets it.
func TestCopyMovedByHand(t *testing.T) {
	p := newPair(t)
	p.state = ""
	for i := range 4 {
		p.write(1+i, 1)
	}
	p.copy(0, "")
	p.want(4)
	c := p.from.Client(t)
	all, err := c.Positions(t.Context(), "t")
	if err != nil || len(all) != 1 || all[0].Note != "5" || !strings.HasPrefix(all[0].Consumer, "copy.") || len(all[0].Consumer) != 21 {
		t.Fatalf("%+v, %v", all, err)
	}
	// The last two once more.
	to := logd.PositionChange{At: logd.ID{Offset: all[0].At.Offset / 2}, Version: logd.AnyVersion}
	if _, err := c.SetPosition(t.Context(), "t", all[0].Consumer, to); err != nil {
		t.Fatal(err)
	}
	p.copy(0, "was set by hand")
	if info, err := p.to.Client(t).Info(t.Context(), "t"); err != nil || info.Messages != 6 {
		t.Errorf("%+v, %v", info, err)
	}
	p.copy(0, "")

	key := pair{from: "t", fromID: "0a", to: "t", toID: "0b"}
	info, err := c.Info(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	key.fromID = info.ID
	one, two := newPositionKeeper(c), newPositionKeeper(c)
	for _, k := range []*positionKeeper{one, two} {
		if _, ok, err := k.load(t.Context(), key); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	want := state{generation: 3, next: mark{0, 0}, seq: 7}
	if err := one.save(t.Context(), key, want); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := newPositionKeeper(c).load(t.Context(), key); got != want || !ok || err != nil {
		t.Errorf("%+v, %v, %v, want %+v", got, ok, err, want)
	}
	if err := two.save(t.Context(), key, state{seq: 8}); err == nil || !strings.Contains(err.Error(), "set by another one meanwhile") {
		t.Errorf("a second copy: %v", err)
	}
	// What was set and not answered is known again.
	if err := two.save(t.Context(), key, want); err != nil {
		t.Error(err)
	}
	if err := two.save(t.Context(), key, state{seq: 8}); err != nil {
		t.Error(err)
	}
}

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	open := func() *stateFile {
		t.Helper()
		k, err := openState(path)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	if _, err := openState(path); cli.ExitCode(err) != exit.Temporary {
		t.Errorf("a second one: %v", err)
	}
	a, b := pair{"a", "0a", "x", "1b"}, pair{"b", "0c", "x", "1b"}
	states := map[pair]state{a: {2, mark{70, 11}, 42}, b: {0, mark{}, 1}}
	for p, s := range states {
		if err := k.save(t.Context(), p, state{seq: 9}); err != nil {
			t.Fatal(err)
		}
		if err := k.save(t.Context(), p, s); err != nil {
			t.Fatal(err)
		}
	}
	check := func(k *stateFile) {
		t.Helper()
		for p, want := range states {
			if got, ok, err := k.load(t.Context(), p); got != want || !ok || err != nil {
				t.Errorf("%+v: %+v, %v, %v, want %+v", p, got, ok, err, want)
			}
		}
	}
	check(k)
	k.close()
	k = open()
	check(k)
	if _, ok, err := k.load(t.Context(), pair{"a", "0a", "x", "2b"}); ok || err != nil {
		t.Errorf("of another topic: %v, %v", ok, err)
	}
	// It stays small.
	for i := range int64(40000) {
		states[a] = state{2, mark{70 + i, 0}, 43 + i}
		if i%1000 != 0 {
			k.size += 32 // as if it were saved
			continue
		}
		if err := k.save(t.Context(), a, states[a]); err != nil {
			t.Fatal(err)
		}
	}
	states[a] = state{2, mark{39070, 0}, 39043}
	check(k)
	if st, err := os.Stat(path); err != nil || st.Size() > 2000 {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
	if _, err := openState(path); cli.ExitCode(err) != exit.Temporary {
		t.Errorf("after it was written anew: %v", err)
	}
	k.close()
	text, _ := os.ReadFile(path)
	for i := range text {
		os.WriteFile(path, text[:i], 0o600)
		if k, err := openState(path); err == nil {
			k.close()
		} else if i > len(stateMagic) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	for _, bad := range []string{"", "logd-copy 2\n", stateMagic + "\na 0a x 1b 2 70.11\n", stateMagic + "\na 0a x 1b 2 70 42\n", stateMagic + "\na 0a x 1b -1 70.1 42\n", stateMagic + "\na 0a x 1b 0 70.1 0\n"} {
		os.WriteFile(path, []byte(bad), 0o600)
		if k, err := openState(path); err == nil {
			k.close()
			t.Errorf("%q is taken", bad)
		}
		if got, _ := os.ReadFile(path); string(got) != bad {
			t.Errorf("%q is overwritten", bad)
		}
	}
}

package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/testkit"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FAKE_JOURNAL"); dir != "" {
		fakeJournalctl(dir, os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m)
}

// behaviour is what a fake journalctl does wrong.
type behaviour struct {
	Die     int // after so many entries
	Rubbish int // print what is no entry, after so many
	Repeat  int // print so many from before the cursor
}

// fakeJournalctl prints the entries of a file of the folder. Its runs behave as a file
// there says, the later ones as they should.
func fakeJournalctl(dir string, args []string) {
	after, lines, follow := "", "all", false
	for _, arg := range args {
		name, text, _ := strings.Cut(arg, "=")
		switch name {
		case "--after-cursor":
			after = text
		case "--lines":
			lines = text
		case "-f":
			follow = true
		}
	}
	calls, _ := os.OpenFile(filepath.Join(dir, "args"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	fmt.Fprintln(calls, strings.Join(args, " "))
	all, _ := os.ReadFile(calls.Name())
	run := bytes.Count(all, []byte("\n")) - 1
	var b behaviour
	var behaviours []behaviour
	text, _ := os.ReadFile(filepath.Join(dir, "behaviours"))
	json.Unmarshal(text, &behaviours)
	if run < len(behaviours) && follow {
		b = behaviours[run]
	}
	printed := 0
	for at := -1; ; {
		data, _ := os.ReadFile(filepath.Join(dir, "entries"))
		entries := strings.SplitAfter(string(data[:bytes.LastIndexByte(data, '\n')+1]), "\n")
		entries = entries[:len(entries)-1]
		if at < 0 {
			at = 0
			for i, e := range entries {
				if after != "" && strings.Contains(e, `"`+after+`"`) {
					at = max(i+1-b.Repeat, 0)
				}
			}
			if lines != "all" {
				n, _ := strconv.Atoi(lines)
				at = max(len(entries)-n, 0)
			}
		}
		for ; at < len(entries); at++ {
			if b.Rubbish > 0 && printed == b.Rubbish {
				fmt.Println("{rubbish")
			}
			if _, err := os.Stdout.WriteString(entries[at]); err != nil {
				return
			}
			if printed++; b.Die > 0 && printed == b.Die {
				os.Stdout.WriteString(entries[at][:10]) // half a line
				fmt.Fprintln(os.Stderr, "it died")
				os.Exit(3)
			}
		}
		if !follow {
			return
		}
		if os.Getppid() == 1 {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// fake is a journal.
type fake struct {
	t   *testing.T
	dir string
	seq int
}

func newFake(t *testing.T, behaviours ...behaviour) *fake {
	f := &fake{t: t, dir: t.TempDir()}
	text, err := json.Marshal(behaviours)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "behaviours"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE_JOURNAL", f.dir)
	return f
}

func (f *fake) cursor(n int) string {
	return fmt.Sprintf("s=abc;i=%x;b=1;m=%x;t=%x;x=0", n, n, int(1e15)+n)
}

// add adds an entry with the next number after skip others.
func (f *fake) add(skip int, message any, more ...string) {
	f.t.Helper()
	f.seq += skip + 1
	e := map[string]any{
		"__CURSOR": f.cursor(f.seq), "__SEQNUM": fmt.Sprint(f.seq), "__SEQNUM_ID": "abc", "__REALTIME_TIMESTAMP": fmt.Sprint(1e15 + f.seq), "SYSLOG_IDENTIFIER": "app",
	}
	if message != nil {
		e["MESSAGE"] = message
	}
	for i := 0; i < len(more); i += 2 {
		e[more[i]] = more[i+1]
	}
	text, err := json.Marshal(e)
	if err != nil {
		f.t.Fatal(err)
	}
	f.raw(string(text))
}

func (f *fake) raw(line string) {
	file, err := os.OpenFile(filepath.Join(f.dir, "entries"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprintln(file, line)
}

func (f *fake) args() []string {
	text, _ := os.ReadFile(filepath.Join(f.dir, "args"))
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// sink is a feed.Sink for a journal, and its feed.Replayed.
type sink struct {
	feed.Sink
	room chan struct{}

	mu    sync.Mutex
	read  feed.Position
	full  bool
	how   string
	lines []feed.Line
	hows  []string // of lines
	holes []feed.Hole
}

func newSink() *sink { return &sink{room: make(chan struct{}, 1)} }

func (s *sink) Journal(string, feed.Replay) (feed.Replayed, bool, error) {
	return (*replayed)(s), s.read != feed.Position{}, nil
}
func (s *sink) Room() <-chan struct{} { return s.room }

type replayed sink

func (r *replayed) ID() int64 { return 1 }
func (r *replayed) Offer(lines []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return 0
	}
	// It never takes more than two, so that the rest must be offered again.
	lines = lines[:min(len(lines), 2)]
	for _, l := range lines {
		if l.From.At < r.read.At || l.To.At <= l.From.At || anchor(l.To).At != l.To.At {
			panic(fmt.Sprintf("from %v to %v after %v", l.From, l.To, r.read))
		}
		l.Body = bytes.Clone(l.Body)
		r.read = l.To
		r.lines = append(r.lines, l)
		r.hows = append(r.hows, r.how)
	}
	select {
	case r.room <- struct{}{}:
	default:
	}
	return len(lines)
}
func (r *replayed) Spill(lines []feed.Line, anchor func(feed.Position) feed.Anchor) int {
	panic("not for a journal")
}
func (r *replayed) Read() feed.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}
func (r *replayed) Position() feed.Position { return r.Read() }
func (r *replayed) Hole(h feed.Hole, _ uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.To > r.read.At {
		panic("the hole would move the position, which has a cursor")
	}
	r.holes = append(r.holes, h)
}
func (r *replayed) Seen(f feed.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.how = f.How
}
func (r *replayed) Close()  {}
func (r *replayed) Forget() {}

func (s *sink) bodies() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		text := string(l.Body)
		if l.Part > 0 {
			text = fmt.Sprintf("%d:%s", l.Part, text)
			if l.Last {
				text += "."
			}
		}
		all = append(all, text)
	}
	return all
}

func (s *sink) missing(kind feed.Kind) (messages int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.holes {
		if h.Kind == kind {
			messages += h.Messages
		}
	}
	return messages
}

func open(t *testing.T, s *sink, change func(*Config)) *Input {
	t.Helper()
	c := Config{Name: "j", Program: os.Args[0], pause: time.Millisecond}
	if change != nil {
		change(&c)
	}
	in, err := Start(c, s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, in) })
	return in
}

func stop(t *testing.T, in *Input) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := in.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, func() string { return testkit.Unless(ok(), "it does not come to be: "+what) })
}

// takes waits until bodies were taken, and checks that it was those.
func takes(t *testing.T, s *sink, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprint(len(want), " bodies"), func() bool { return len(s.bodies()) >= len(want) })
	if got := s.bodies(); !slices.Equal(got, want) {
		t.Errorf("taken %.200q, want %.200q", got, want)
	}
}

func TestEntries(t *testing.T) {
	f, s := newFake(t), newSink()
	f.add(0, "hello")
	f.add(0, nil)
	f.add(0, []int{104, 0, 255})
	f.add(0, "long and longer", "_SYSTEMD_UNIT", "a.service", "PRIORITY", "3", "SYSLOG_FACILITY", "3", "_PID", "12")
	f.add(0, []string{"two", "fields"})
	open(t, s, func(c *Config) { c.MaxLine = 10 })
	takes(t, s, "hello", "", "h\x00\xff", "1:long and l", "2:onger.", "two\nfields")
	if m := s.lines[4].Message; m.Unit != "a.service" || m.Severity != "err" || m.Facility != "daemon" || m.ProcID != "12" || m.App != "app" || !m.Sent.Equal(time.UnixMicro(1e15+4)) {
		t.Errorf("%+v", m)
	}
	f.add(0, "later")
	takes(t, s, "hello", "", "h\x00\xff", "1:long and l", "2:onger.", "two\nfields", "later")
	if got := f.args(); !slices.Equal(got, []string{"-o json --all -f --lines=all"}) {
		t.Errorf("called by %q", got)
	}
}

func TestLong(t *testing.T) {
	for long, want := range map[lines.Long][]string{lines.Truncate: {"a", "01234", "b"}, lines.Skip: {"a", "b"}} {
		f, s := newFake(t), newSink()
		f.add(0, "a")
		f.add(0, "0123456789")
		f.add(0, "b")
		in := open(t, s, func(c *Config) { c.MaxLine, c.LongLines = 5, long })
		takes(t, s, want...)
		if n := s.missing(feed.TooLong); n != int64(3-len(want)) {
			t.Errorf("%v: %d messages in holes", long, n)
		}
		stop(t, in)
	}
}

// Lines are made again by the settings of their time, and not by those of today.
func TestReplayAsMade(t *testing.T) {
	f, s := newFake(t), newSink()
	f.add(0, "0123456789ab", "_SYSTEMD_UNIT", "a.service")
	in := open(t, s, func(c *Config) { c.MaxLine, c.Units = 5, []string{"a.service", "b.service"} })
	want := []string{"1:01234", "2:56789", "3:ab."}
	takes(t, s, want...)
	if err := in.Update(Config{Name: "j", Program: os.Args[0], MaxLine: 4, LongLines: lines.Truncate}); err != nil {
		t.Fatal(err)
	}
	f.add(0, "0123456789ab")
	takes(t, s, append(want, "0123")...)
	stop(t, in)
	for _, r := range []struct{ from, to int }{{0, 3}, {1, 3}, {3, 4}} {
		var got []feed.Line
		err := in.Replay(t.Context(), s.hows[r.from], s.lines[r.from].From, s.lines[r.to-1].To, func(l *feed.Line) error {
			got = append(got, *l)
			return nil
		})
		if err != nil || !slices.EqualFunc(got, s.lines[r.from:r.to], same) {
			t.Errorf("%d to %d: %+v, %v", r.from, r.to, got, err)
		}
	}
	args := f.args()
	if got := args[len(args)-3]; !strings.Contains(got, "--unit=a.service --unit=b.service") {
		t.Errorf("read again by %q", got)
	}
	if err := in.Replay(t.Context(), "anyhow", s.lines[0].From, s.lines[0].To, nil); err == nil {
		t.Error("settings that are none are good")
	}
}

// A child that ends, repeats, or prints rubbish is started again behind what was read.
func TestChildren(t *testing.T) {
	f, s := newFake(t, behaviour{Die: 2}, behaviour{Rubbish: 1}, behaviour{Repeat: 2, Die: 4}, behaviour{Repeat: 100}), newSink()
	var want []string
	for i := range 10 {
		f.add(0, fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	in := open(t, s, nil)
	takes(t, s, want...)
	stop(t, in)
	if args := f.args(); len(args) != 4 || args[1] != "-o json --all -f --after-cursor="+f.cursor(2)+" --lines=all" {
		t.Errorf("called by %q", args)
	}
	if n := s.missing(feed.Vacuumed); n != 0 {
		t.Errorf("%d are missing", n)
	}
	// Another run begins where this ended, also in the middle of an entry.
	f.add(2, "abcdefgh")
	f.add(0, "end")
	in = open(t, s, func(c *Config) { c.MaxLine = 3 })
	takes(t, s, append(want, "1:abc", "2:def", "3:gh.", "end")...)
	stop(t, in)
	if n := s.missing(feed.Vacuumed); n != 2 {
		t.Errorf("%d are missing", n)
	}
	again := newSink()
	again.read = s.lines[len(want)].To
	open(t, again, func(c *Config) { c.MaxLine = 3 })
	takes(t, again, "2:def", "3:gh.", "end")
	if !slices.EqualFunc(again.lines, s.lines[len(want)+1:], same) {
		t.Errorf("read again: %v, want %v", again.lines, s.lines[len(want)+1:])
	}
	if n := again.missing(feed.Vacuumed); n != 0 {
		t.Errorf("%d are missing again", n)
	}
}

func same(a, b feed.Line) bool {
	return a.From == b.From && a.To == b.To && bytes.Equal(a.Body, b.Body) && a.Part == b.Part && a.Last == b.Last
}

// What is no entry, and comes again each time, does not keep those behind it from being read.
func TestStuck(t *testing.T) {
	f, s := newFake(t), newSink()
	f.add(0, "a")
	f.raw(`{"no":"cursor"}`)
	f.add(0, "b")
	open(t, s, nil)
	takes(t, s, "a", "b")
	if len(s.holes) != 1 || s.holes[0].Kind != feed.Damaged {
		t.Errorf("holes %v", s.holes)
	}
}

func TestFromEnd(t *testing.T) {
	f, s := newFake(t, behaviour{}, behaviour{}), newSink()
	f.add(0, "old")
	in := open(t, s, func(c *Config) { c.FromEnd, c.Units = true, []string{"a", "b"} })
	eventually(t, "it follows", func() bool { return len(f.args()) == 2 })
	f.add(3, "new")
	takes(t, s, "new")
	if n := s.missing(feed.Vacuumed); n != 0 {
		t.Errorf("%d are missing, of those that the units leave out", n)
	}
	want := []string{"-o json --all --unit=a --unit=b --lines=1", "-o json --all -f --after-cursor=" + f.cursor(1) + " --unit=a --unit=b --lines=all"}
	if args := f.args(); !slices.Equal(args, want) {
		t.Errorf("called by %q, want %q", args, want)
	}
	// Other units: another child, and nothing is lost or read twice.
	c := in.now()
	c.Units = nil
	if err := in.Update(c); err != nil {
		t.Fatal(err)
	}
	f.add(0, "newer")
	takes(t, s, "new", "newer")
}

func TestOnce(t *testing.T) {
	f, s := newFake(t), newSink()
	f.add(0, "a")
	f.add(0, "b")
	in := open(t, s, func(c *Config) { c.Once = true })
	<-in.Done()
	takes(t, s, "a", "b")
	if args := f.args(); len(args) != 1 || strings.Contains(args[0], "-f") {
		t.Errorf("called by %q", args)
	}
}

// Without room it waits, and a stop does not.
func TestFull(t *testing.T) {
	f, s := newFake(t), newSink()
	s.full = true
	f.add(0, "a")
	var counters inputs.Counters
	in, err := Start(Config{Name: "j", Program: os.Args[0], pause: time.Millisecond}, s, &counters, nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "blocked", func() bool { return counters.Blocked.Total() > 0 })
	stop(t, in)
	if len(s.bodies()) > 0 {
		t.Error("something was taken")
	}
	s.full = false
	open(t, s, nil)
	takes(t, s, "a")
}

// An entry that is longer than anything that is held is left out, and no other.
func TestHuge(t *testing.T) {
	f, s := newFake(t), newSink()
	f.add(0, "a")
	f.seq++
	f.raw(`{"A":"` + strings.Repeat(`\"`, 100) + `","__CURSOR":"` + f.cursor(f.seq) + `","MESSAGE":"` + strings.Repeat("x", maxEntry) + `"}`)
	f.add(0, "b")
	open(t, s, nil)
	takes(t, s, "a", "b")
	if len(s.holes) != 1 || s.holes[0].Kind != feed.TooLong || s.holes[0].Messages != 1 || s.holes[0].Bytes < maxEntry {
		t.Errorf("holes %v", s.holes)
	}
}

func TestNoProgram(t *testing.T) {
	if _, err := Start(Config{Name: "j", Program: "no-such-journalctl"}, newSink(), nil, nil); !errors.Is(err, ErrNoProgram) {
		t.Error(err)
	}
}

// Whatever the children do, each entry is taken once, in order, with the same position
// whenever it is read, and what is missing is told.
func TestRandom(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	var behaviours []behaviour
	for range 25 {
		behaviours = append(behaviours, behaviour{Die: random.IntN(20), Rubbish: random.IntN(30), Repeat: random.IntN(10)})
	}
	f, s := newFake(t, behaviours...), newSink()
	var want []string
	missing := 0
	in := open(t, s, nil)
	for i := range 200 {
		skip := max(0, random.IntN(12)-9)
		if i > 0 {
			missing += skip
		}
		f.add(skip, fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
		if random.IntN(40) == 0 {
			eventually(t, "it is taken", func() bool { return len(s.bodies()) == len(want) })
			stop(t, in)
			in = open(t, s, nil)
		}
	}
	takes(t, s, want...)
	if n := s.missing(feed.Vacuumed); n != int64(missing) {
		t.Errorf("%d are missing, and %d were told", missing, n)
	}
	// The control: without what was added last, it would be noticed.
	if slices.Equal(s.bodies(), want[:len(want)-1]) {
		t.Error("the check sees nothing")
	}

	// Batches are made again of what is between two positions.
	for range 5 {
		i := random.IntN(len(want))
		j := i + 1 + random.IntN(len(want)-i)
		var got []feed.Line
		err := in.Replay(t.Context(), s.hows[i], s.lines[i].From, s.lines[j-1].To, func(l *feed.Line) error {
			got = append(got, *l)
			return nil
		})
		if err != nil || !slices.EqualFunc(got, s.lines[i:j], same) {
			t.Errorf("from %d to %d: %d lines, %v", i, j, len(got), err)
		}
	}
	// What is gone is said.
	data, _ := os.ReadFile(filepath.Join(f.dir, "entries"))
	all := strings.SplitAfter(string(data), "\n")
	os.WriteFile(filepath.Join(f.dir, "entries"), []byte(strings.Join(all[:100], "")), 0o600)
	if err := in.Replay(t.Context(), s.hows[90], s.lines[90].From, s.lines[110].To, func(*feed.Line) error { return nil }); err == nil {
		t.Error("what is gone was read again")
	}
	os.WriteFile(filepath.Join(f.dir, "entries"), data, 0o600)
}

func FuzzEntry(f *testing.F) {
	for _, seed := range []string{
		`{"__CURSOR":"s=1;i=2","MESSAGE":"x"}`, `{"__CURSOR":"c","MESSAGE":[1,2,255]}`, `{"__CURSOR":"c","MESSAGE":null}`, `{"__CURSOR":"c","MESSAGE":["a",[98]]}`,
		`{"__CURSOR":"c","MESSAGE":[256]}`, `{}`, `[]`, `{"__CURSOR":{}}`,
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, line []byte, most int) {
		e, err := parseEntry(line)
		if err != nil {
			return
		}
		if e.cursor == "" || len(e.Body) > len(line) {
			t.Errorf("%q: %+v", line, e)
		}
		l := placeOf(feed.Position{At: 10, Cursor: "s=1;i=1"})
		all, left := l.next(e, max(1, most), lines.Split)
		at := int64(10)
		var body []byte
		for _, line := range all {
			if line.From.At < at || line.To.At <= line.From.At {
				t.Errorf("%v", line)
			}
			at = line.To.At
			body = append(body, line.Body...)
			if p := placeOf(line.To); p.at+p.parts != line.To.At {
				t.Errorf("%v is %+v", line.To, p)
			}
		}
		if left != 0 || !bytes.Equal(body, e.Body) || at != l.at {
			t.Errorf("%q: %v", line, all)
		}
	})
}

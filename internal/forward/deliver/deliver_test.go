package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/forward/spool"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/memnet"
	"github.com/logd-dev/logd/logdtest/script"
)

func TestPut(t *testing.T) {
	for _, disk := range []vfs.FS{nil, vfstest.New()} {
		s := logdtest.Start(t)
		cfg := config(t, s, disk)
		d := begin(t, cfg, input(t, "in", "t"))
		src := d.Live("in", "a sender")
		var want []string
		safe := make(chan bool, 1)
		for i := range 500 {
			body := fmt.Sprint("message ", i, strings.Repeat(".", i%100))
			want = append(want, body)
			if err := src.Put(t.Context(), []feed.Message{{Body: []byte(body)}}, feed.Block, func() { safe <- true }); err != nil {
				t.Fatal(err)
			}
			if i%50 == 0 {
				<-safe
			} else {
				go func() { <-safe }()
			}
		}
		idle(t, d)
		if got := stored(t, cfg.Client, "t"); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%d stored, want %d", len(got), len(want))
		}
		c := d.Counters("in")
		if c.TakenMessages.Load() != 500 || c.StoredMessages.Load() != 500 || c.TakenBytes.Load() != c.StoredBytes.Load() {
			t.Errorf("counters %+v", c)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := src.Put(t.Context(), []feed.Message{{}}, feed.Block, nil); !errors.Is(err, feed.ErrClosing) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestOffer says that a position moves only when what is before it is stored.
func TestOffer(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "f-{base}"))
	f := numbered(1000)
	src := reads(t, d, feed.File{Input: "in", Path: "/var/log/app.log"}, f)
	s.Stop()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		f.read(d, src, stop)
		close(done)
	}()
	time.Sleep(20 * time.Millisecond)
	if p := src.Position(); p.At != 0 {
		t.Fatalf("the position is %v, and nothing is stored", p)
	}
	s.Restart()
	close(stop)
	<-done
	idle(t, d)
	if p := src.Position(); p.At != int64(len(f.data)) {
		t.Errorf("the position is %v of %d", p, len(f.data))
	}
	if got := stored(t, cfg.Client, "f-app"); len(got) != 1000 || got[999] != "line 999" {
		t.Fatalf("%d stored", len(got))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = begin(t, cfg, input(t, "in", "f-{base}"))
	files := d.Files("in")
	if len(files) != 1 || files[0].Position != int64(len(f.data)) || files[0].Anchors[0] != anchor(feed.Position{At: int64(len(f.data))}) {
		t.Errorf("%+v", files)
	}
	d.Close()
}

// TestKill kills the agent and the server under senders and files: what was safe is
// stored once, and what is in a file, too, in its order.
func TestKill(t *testing.T) {
	for _, format := range []render.Format{render.Raw, render.JSON} {
		t.Run(format.String(), func(t *testing.T) { testKill(t, format) })
	}
}

func testKill(t *testing.T, format render.Format) {
	s := logdtest.Start(t)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	disk := vfstest.New()
	f := new(file)
	var sure []string // what was told to be safe
	var mu sync.Mutex
	put, lines := 0, 0
	id := int64(0)
	runs := 20
	if testing.Short() {
		runs = 8
	}
	ofFile := input(t, "file", "f")
	ofFile.Format = format
	for run := range runs {
		cfg := config(t, s, disk)
		d := begin(t, cfg, input(t, "live", "t"), ofFile)
		state := feed.File{Input: "file", Path: "/f"}
		for _, known := range d.Files("file") {
			state = known
			id = known.ID
		}
		src := reads(t, d, state, f)
		if id != 0 && src.ID() != id {
			t.Fatalf("another file: %d, %d", src.ID(), id)
		}
		d.Recover()
		var workers sync.WaitGroup
		stop := make(chan struct{})
		workers.Go(func() { f.read(d, src, stop) })
		live := d.Live("live", "sender")
		for range 3 {
			workers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					mu.Lock()
					body := fmt.Sprint("message ", put)
					put++
					f.write(fmt.Sprint("line ", lines))
					lines++
					mu.Unlock()
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					live.Put(ctx, []feed.Message{{Body: []byte(body)}}, feed.Block, func() {
						mu.Lock()
						defer mu.Unlock()
						sure = append(sure, body)
					})
					cancel()
				}
			})
		}
		time.Sleep(time.Duration(rng.Int64N(60e6)))
		if run%3 == 2 {
			s.Stop()
			time.Sleep(time.Duration(rng.Int64N(30e6)))
			s.Restart()
		}
		if run < runs-1 {
			image := killed(disk)
			close(stop)
			d.end()
			workers.Wait()
			d.Close()
			disk = image
			continue
		}
		close(stop)
		workers.Wait()
		idle(t, d)
		check(t, cfg.Client, sure, lines)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares what is stored with what has to be.
func check(t *testing.T, c *logd.Client, sure []string, lines int) {
	t.Helper()
	got := map[string]int{}
	for _, m := range stored(t, c, "t") {
		got[m]++
	}
	lost, twice := 0, 0
	for _, m := range sure {
		if got[m] == 0 {
			lost++
		}
	}
	for _, n := range got {
		if n > 1 {
			twice++
		}
	}
	if lost > 0 || twice > 0 || len(sure) == 0 {
		t.Errorf("of %d messages that were safe %d are lost, %d are stored twice", len(sure), lost, twice)
	}
	for i, line := range stored(t, c, "f") {
		if want := fmt.Sprint("line ", i); line != want && !strings.HasSuffix(line, `"body":"`+want+`"}`) {
			t.Fatalf("%q stands where %q should", line, want)
		}
	}
	if n := len(stored(t, c, "f")); n != lines {
		t.Errorf("%d lines of %d", n, lines)
	}
}

// TestRefused says that a lane that is refused waits and stops no other, that a template's
// goes to the fallback, and that a message that is refused for itself is buried alone.
func TestRefused(t *testing.T) {
	s := logdtest.Start(t, logdtest.Topics("good", "other"))
	disk := vfstest.New()
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "bad", "bad"), input(t, "good", "good"), input(t, "made", "app-{app}"))
	defer d.Close()
	for range 3 {
		for _, in := range []string{"bad", "good", "made"} {
			m := feed.Message{Body: []byte(in), App: "x"}
			if err := d.Live(in, "").Put(t.Context(), []feed.Message{m}, feed.Block, nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	testkit.Eventually(t, func() string {
		good, other := len(stored(t, cfg.Client, "good")), len(stored(t, cfg.Client, "other"))
		return testkit.Unless(good == 3 && other == 3, fmt.Sprintf("%d are stored in good, %d in other, %+v", good, other, d.Lanes()))
	})
	for _, l := range d.Lanes() {
		if want := map[string]string{"bad": "refused", "app-x": "refused"}[l.Topic]; want != "" && l.State != want {
			t.Errorf("%+v", l)
		}
	}
}

// TestTooLarge says that what the server finds too large is split, and what can't be is
// buried, and that the rest is stored in order.
func TestTooLarge(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	cfg := config(t, s, disk)
	cfg.BatchSize = 256 << 10
	d := begin(t, cfg, input(t, "in", "t"))
	var want []string
	for i := range 30 {
		n := 9000
		if i == 10 {
			n = 100_000
		} else {
			want = append(want, strings.Repeat("x", n)+fmt.Sprint(i))
		}
		m := feed.Message{Body: []byte(strings.Repeat("x", n) + fmt.Sprint(i))}
		if err := d.Live("in", "").Put(t.Context(), []feed.Message{m}, feed.Block, nil); err != nil {
			t.Fatal(err)
		}
	}
	idle(t, d)
	got := stored(t, cfg.Client, "t")
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d stored, want %d", len(got), len(want))
	}
	holes := d.Counters("in").Holes()
	if h := holes[feed.Refused]; h.Messages != 1 || h.Bytes != 100_002 || d.Sizes().DeadMessages != 1 {
		t.Errorf("%+v, %+v", holes, d.Sizes())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = begin(t, cfg)
	defer d.Close()
	if n, _, _ := d.Waiting(); n != 0 || d.Sizes().DeadMessages != 1 {
		t.Errorf("after a restart %d wait, %+v", n, d.Sizes())
	}
	d.ledger.Look(func(s *ledger.State) {
		total := s.Totals[ledger.TotalKey{Input: "in", Topic: "t"}]
		if total.Messages != 29 || total.Holes[feed.Refused].Messages != 1 {
			t.Errorf("%+v", total)
		}
	})
}

// TestFull says what becomes of what there is no room for.
func TestFull(t *testing.T) {
	s := logdtest.Start(t)
	s.Stop()
	disk := vfstest.New()
	cfg := config(t, s, disk)
	cfg.SpoolBytes = 100 << 10
	d := begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	src := d.Live("in", "")
	m := []feed.Message{{Body: bytes.Repeat([]byte("x"), 1000)}}
	var taken atomic.Int64
	for full := 0; full < 5; { // room that was kept comes back when less is written
		if err := src.Put(t.Context(), m, feed.Refuse, nil); errors.Is(err, feed.ErrFull) {
			full++
			time.Sleep(10 * time.Millisecond)
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		full = 0
		taken.Add(1)
	}
	if n := taken.Load(); n < 10 || n > 50 {
		t.Errorf("%d messages have room in half of 100 KiB", n)
	}
	safe := make(chan bool, 1)
	if err := src.Put(t.Context(), m, feed.Drop, func() { safe <- true }); err != nil {
		t.Fatal(err)
	}
	<-safe
	if h := d.Counters("in").Holes()[feed.Dropped]; h.Messages != 1 || h.Bytes != 1000 {
		t.Errorf("%+v", h)
	}
	blocked := make(chan error, 1)
	go func() { blocked <- src.Put(t.Context(), m, feed.Block, nil) }()
	select {
	case err := <-blocked:
		t.Fatalf("there is room: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.Restart()
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	idle(t, d)
	if n := int64(len(stored(t, cfg.Client, "t"))); n != taken.Load()+1 {
		t.Errorf("%d stored of %d", n, taken.Load()+1)
	}
}

// TestCounters says that what was taken is stored, waits or is a hole, also if it was taken
// by a run before.
func TestCounters(t *testing.T) {
	s := logdtest.Start(t)
	s.Stop()
	cfg := config(t, s, vfstest.New())
	cfg.SpoolBytes = 100 << 10
	check := func(d *Delivery, taken, stored, waiting int64) {
		t.Helper()
		c := d.Counters("in")
		if c.TakenMessages.Load() != taken || c.StoredMessages.Load() != stored || c.Waiting() != waiting {
			t.Errorf("taken %d, stored %d, %d bytes wait; want %d, %d, %d", c.TakenMessages.Load(), c.StoredMessages.Load(), c.Waiting(), taken, stored, waiting)
		}
	}
	d := begin(t, cfg, input(t, "in", "t"))
	src := d.Live("in", "")
	safe := make(chan bool, 1)
	put := func(body string) {
		t.Helper()
		if err := src.Put(t.Context(), []feed.Message{{Body: []byte(body)}}, feed.Drop, func() { safe <- true }); err != nil {
			t.Fatal(err)
		}
		<-safe
	}
	put("abc")
	put("de")
	put(strings.Repeat("x", 60<<10)) // more than a topic may have
	src.Hole(feed.Hole{Kind: feed.TooLong, Messages: 1, Bytes: 100})
	src.Hole(feed.Hole{Kind: feed.KernelDropped, Messages: 7}) // which was never taken
	check(d, 4, 0, 5)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	cfg.Client = config(t, s, nil).Client
	d = begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	d.Recover()
	idle(t, d)
	check(d, 2, 2, 0)
}

// TestJournalHow says that batches of the journal tell how their lines were made, those that
// were made another way in runs of their own.
func TestJournalHow(t *testing.T) {
	s := logdtest.Start(t)
	s.Stop()
	cfg := config(t, s, vfstest.New())
	cfg.BatchAge = time.Hour
	d := begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	f := new(file)
	f.write("a")
	f.write("b")
	src, _, err := d.Journal("in", f)
	if err != nil {
		t.Fatal(err)
	}
	all := f.lines(0, 2)
	for i, how := range []string{"before", "now"} {
		src.Seen(feed.File{How: how})
		if n := src.Offer(all[i:i+1], anchor); n != 1 {
			t.Fatalf("%d lines were taken", n)
		}
	}
	l := d.lane("t", false)
	l.mu.Lock()
	defer l.mu.Unlock()
	var got []string
	for _, r := range l.open[replayed].runs {
		got = append(got, r.How)
	}
	if !slices.Equal(got, []string{"before", "now"}) {
		t.Errorf("made as %q", got)
	}
}

// TestSeenText says that the first text of a file is kept, if only that is new.
func TestSeenText(t *testing.T) {
	s := logdtest.Start(t)
	cfg := config(t, s, vfstest.New())
	d := begin(t, cfg, input(t, "in", "t"))
	known := feed.File{Input: "in", Path: "/f", Size: 3000}
	src := reads(t, d, known, new(file))
	known.ID, known.Text = src.ID(), feed.Anchor{At: 2000, Hash: 7}
	src.Seen(known)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	if files := d.Files("in"); len(files) != 1 || files[0].Text != known.Text {
		t.Errorf("%+v", files)
	}
}

// TestForgotten says that a server that has forgotten the sender gets the rest under a new
// id.
func TestForgotten(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	src := d.Live("in", "")
	for i := range 3 {
		if err := src.Put(t.Context(), []feed.Message{{Body: fmt.Append(nil, i)}}, feed.Block, nil); err != nil {
			t.Fatal(err)
		}
		idle(t, d)
	}
	info, err := cfg.Client.Info(t.Context(), "t")
	if err == nil {
		_, err = cfg.Client.Command(t.Context(), "DELETE t id="+info.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := src.Put(t.Context(), []feed.Message{{Body: fmt.Append(nil, i+3)}}, feed.Block, nil); err != nil {
			t.Fatal(err)
		}
		idle(t, d)
	}
	if got := strings.Join(stored(t, cfg.Client, "t"), " "); got != "3 4 5" {
		t.Errorf("stored: %s", got)
	}
}

// TestSpill says that what soon can't be read again is in the spool after a kill, with
// what was offered of it before, and is stored once.
func TestSpill(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	f := numbered(300)
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "t"))
	src := reads(t, d, feed.File{Input: "in", Path: "/f"}, f)
	all := f.lines(0, 1000)
	if n := src.Offer(all[:50], anchor); n != 50 {
		t.Fatalf("%d offered", n)
	}
	testkit.Eventually(t, func() string { return testkit.Unless(len(stored(t, cfg.Client, "t")) == 50, "not all is stored") })
	s.Stop()
	if n := src.Offer(all[50:150], anchor); n != 100 {
		t.Fatalf("%d offered", n)
	}
	for n := 150; n < len(all); {
		n += src.Spill(all[n:], anchor)
	}
	testkit.Eventually(t, func() string {
		return testkit.Unless(src.Position() == all[len(all)-1].To, fmt.Sprintf("the position is %v of %v", src.Position(), all[len(all)-1].To))
	})
	image := killed(disk)
	d.Close()
	s.Restart()
	cfg = config(t, s, image)
	d = begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	if files := d.Files("in"); files[0].Position != all[len(all)-1].To.At {
		t.Errorf("after the kill the position is %d", files[0].Position)
	}
	d.Recover() // the file is not there
	idle(t, d)
	got := stored(t, cfg.Client, "t")
	for i, line := range got {
		if line != fmt.Sprint("line ", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(got) != 300 {
		t.Errorf("%d lines are stored", len(got))
	}
}

// TestLedgerFull says that nothing is sent of which the ledger could not know, and that all
// is sent once it can.
func TestLedgerFull(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	cfg := config(t, s, disk)
	cfg.LedgerBytes = 1 << 20
	d := begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	disk.SetSpace(disk.Used())
	src := d.Live("in", "")
	for i := range 2000 {
		if err := src.Put(t.Context(), []feed.Message{{Body: fmt.Appendf(nil, "message %d", i)}}, feed.Block, nil); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	disk.SetSpace(1 << 40)
	idle(t, d)
	if got := stored(t, cfg.Client, "t"); len(got) != 2000 || got[1999] != "message 1999" {
		t.Errorf("%d are stored", len(got))
	}
}

// TestSpillOrder has lines come to the spool behind later ones of their file: after a
// restart they go out in the order of the file, and the position is behind all of them.
func TestSpillOrder(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	f := numbered(30)
	lines := f.lines(0, 100)
	book, _, err := ledger.Open(disk, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	known, err := book.Found(feed.File{Input: "in", Path: "/f"}, false)
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := spool.Open(disk, 64<<20, book.SpoolGone)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][2]int{{10, 20}, {20, 30}, {0, 10}} {
		var b logd.Batch
		for _, l := range lines[part[0]:part[1]] {
			b.Add(l.Body)
		}
		run := ledger.Run{Input: "in", Source: known.ID, From: lines[part[0]].From, To: lines[part[1]-1].To, Lines: 10, Format: "raw"}
		if _, err := kept.Put(&spool.Head{Topic: "t", Messages: 10, Runs: []ledger.Run{run}}, b.Raw("t")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(kept.Close(), book.Close()); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	if files := d.Files("in"); files[0].Position != lines[29].To.At {
		t.Errorf("the position is %d of %d", files[0].Position, lines[29].To.At)
	}
	idle(t, d)
	got := stored(t, cfg.Client, "t")
	for i, line := range got {
		if line != fmt.Sprint("line ", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(got) != 30 {
		t.Errorf("%d lines are stored", len(got))
	}
}

// TestSplitFull says that the halves of a batch that find no room in the spool take its
// place once there is some: nothing is stored twice after a restart.
func TestSplitFull(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	cfg := config(t, s, disk)
	cfg.BatchSize, cfg.BatchAge = 1<<20, time.Hour
	d := begin(t, cfg, input(t, "in", "t"))
	s.Stop()
	var all []feed.Message
	for i := range 20 {
		all = append(all, feed.Message{Body: bytes.Repeat([]byte{byte('a' + i)}, 5000)})
	}
	if err := d.Live("in", "").Put(t.Context(), all, feed.Block, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil { // the whole of it is in the spool
		t.Fatal(err)
	}
	disk.SetSpace(disk.Used())
	s.Restart()
	testkit.Eventually(t, func() string {
		l := d.Lanes()[0]
		return testkit.Unless(strings.Contains(l.Why, "no room"), fmt.Sprintf("the disk is not full: %+v", l))
	})
	disk.SetSpace(1 << 40)
	idle(t, d)
	image := killed(disk)
	d.Close()
	cfg = config(t, s, image)
	d = begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	idle(t, d)
	got := stored(t, cfg.Client, "t")
	for i, m := range got {
		if i >= len(all) || m != string(all[i].Body) {
			t.Fatalf("message %d is %.3q", i, m)
		}
	}
	if len(got) != len(all) {
		t.Errorf("%d are stored of %d", len(got), len(all))
	}
}

// TestKilledWhileSplit: a batch in the spool that the server does not take as a whole has
// two others take its place there. A kill at any moment of that has each message stored
// once: none of the two is sent before both have taken the place.
func TestKilledWhileSplit(t *testing.T) {
	for n := 1; n <= 30; n++ {
		synctest.Test(t, func(t *testing.T) {
			answers := make(chan struct{})
			log := &script.Log{Producers: 1000, OnBatch: func(p *script.Peer, messages []string) string {
				<-answers
				if len(messages) > 2 {
					p.Answer("ERR too large\r\n")
					p.Close()
					return "ERR too large\r\n"
				}
				return ""
			}}
			network := memnet.New(t)
			script.Serve(t, network, "log:1774", log.Serve)
			disk := vfstest.New()
			run := func() (*Delivery, *logd.Client) {
				client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{"log:1774"}, Dial: network.Dial, ReconnectAttempts: 1})
				if err != nil {
					t.Fatal(err)
				}
				d := begin(t, Config{
					Client: client, FS: disk, Memory: 8 << 20, SpoolBytes: 64 << 20, LedgerBytes: 64 << 20, DeadBytes: 1 << 20, BatchSize: 4096,
					BatchAge: time.Millisecond, InFlight: 4, SpoolSync: 20 * time.Millisecond, MaxTopics: 3, Fallback: "other", Logger: slog.New(slog.DiscardHandler),
				}, input(t, "in", "t"))
				return d, client
			}
			d, client := run()
			all := []feed.Message{{Body: []byte("a")}, {Body: []byte("b")}, {Body: []byte("c")}, {Body: []byte("d")}, {Body: []byte("e")}}
			var safe atomic.Bool
			if err := d.Live("in", "").Put(t.Context(), all, feed.Block, func() { safe.Store(true) }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if !safe.Load() {
				t.Fatal("what is in the spool is not safe")
			}
			disk.FailAt(n, vfstest.Fault{Forever: true})
			close(answers)
			time.Sleep(10 * time.Second) // what was to be sent is
			image := killed(disk)
			d.Close()
			client.Close()
			disk = image
			d, client = run()
			defer client.Close()
			defer d.Close()
			d.Recover()
			for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				if waiting, _, _ := d.Waiting(); waiting == 0 {
					break
				} else if time.Now().After(end) {
					t.Fatalf("killed at operation %d: %d messages wait: %+v", n, waiting, d.Lanes())
				}
			}
			if got := log.String(); got != "a b c d e" {
				t.Errorf("killed at operation %d: stored %s", n, got)
			}
		})
	}
}

// TestGroups has messages of several topics come at once: those of each stay in order, and
// what was given is not changed.
func TestGroups(t *testing.T) {
	d := begin(t, config(t, logdtest.Start(t), nil))
	defer d.Close()
	l := &live{d, "in"}
	in := input(t, "in", "x-{app}")
	var all []feed.Message
	for _, app := range []string{"a", "a", "b", "a", "c", "b"} {
		all = append(all, feed.Message{Body: fmt.Append(nil, app, len(all)), App: app})
	}
	all = append(all, feed.Message{Body: []byte("z6"), Topic: "asked"})
	before := slices.Clone(all)
	got := ""
	for _, g := range l.groups(&in, all[:7:8]) {
		got += g.topic
		for _, m := range g.messages {
			got += " " + string(m.Body)
		}
		got += fmt.Sprintf(" (%d); ", g.bytes)
	}
	if want := "x-a a0 a1 a3 (6); x-b b2 b5 (4); x-c c4 (2); asked z6 (2); "; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for i := range all {
		if string(all[i].Body) != string(before[i].Body) || all[i].App != before[i].App {
			t.Errorf("message %d was changed", i)
		}
	}
}

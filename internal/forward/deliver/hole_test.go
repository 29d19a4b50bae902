package deliver

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
	"github.com/logd-dev/logd/logdtest"
)

// listed returns the holes that a ledger lists, as an audit reads it, and the position of
// its only source, with the anchor there.
func listed(t *testing.T, disk vfs.FS) (holes []string, at feed.Anchor) {
	t.Helper()
	state, _, err := ledger.Read(disk, func(r any) error {
		if h, ok := r.(*ledger.Hole); ok {
			holes = append(holes, fmt.Sprintf("%s %d-%d %d", h.Kind, h.From, h.To, h.Bytes))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range state.Sources {
		at = src.Anchors[0]
		at.At = src.Position
	}
	return holes, at
}

// TestHoleAndKill says that a hole is written down with the position behind it, and not
// before the lines in front of it are settled: whenever the agent is killed, it is listed
// once, and what another run finds to be lost is no more than was.
func TestHoleAndKill(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	f := numbered(20)
	all := f.lines(0, 20)
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "t"))
	src := reads(t, d, feed.File{Input: "in", Path: "/f"}, f)
	src.Offer(all[:10], anchor)
	testkit.Eventually(t, func() string { return testkit.Unless(src.Position() == all[9].To, "not all is stored") })
	s.Stop()
	src.Offer(all[10:], anchor)
	end := all[19].To.At
	gone := func(from int64) feed.Hole {
		return feed.Hole{Kind: feed.Gone, From: from, To: end + 500, Messages: -1, Bytes: end + 500 - from, Cause: "it is gone"}
	}
	src.Hole(gone(end), 0)
	src.Forget()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	image := killed(disk)
	d.end()
	d.Close()
	if holes, at := listed(t, image); len(holes) > 0 || at.At != all[9].To.At {
		t.Errorf("with lines before it that are not stored, the ledger lists %q, and the position is %d, want %d", holes, at.At, all[9].To.At)
	}
	// What was offered and not sent is lost with the file, too. Whether the ledger has it as
	// sent, the kill decides: then it is made again, and stored.
	s.Restart()
	cfg = config(t, s, image)
	d = begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	src = reads(t, d, d.Files("in")[0], f)
	d.Recover()
	from := src.Read().At
	if from != all[9].To.At {
		t.Fatalf("reading begins at %d", from)
	}
	src.Hole(gone(from), 0)
	testkit.Eventually(t, func() string {
		return testkit.Unless(src.Position().At == end+500, fmt.Sprintf("the position is %d, want %d", src.Position().At, end+500))
	})
	if len(stored(t, cfg.Client, "t")) == 20 {
		from = end
	}
	want := []string{fmt.Sprintf("gone %d-%d %d", from, end+500, end+500-from)}
	if holes, at := listed(t, killed(image)); !slices.Equal(holes, want) || at.At != end+500 {
		t.Errorf("the ledger lists %q and has the position %d, want %q and %d", holes, at.At, want, end+500)
	}
}

// TestHoleOfALine says that a file is known at a place behind a hole, and that holes which
// lines stand before and behind are listed with what is stored.
func TestHoleOfALine(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	f := numbered(20)
	all := f.lines(0, 20)
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "t"))
	defer d.Close()
	src := reads(t, d, feed.File{Input: "in", Path: "/f"}, f)
	s.Stop()
	long := func(i int) {
		from, to := all[i].From.At, all[i].To.At
		src.Hole(feed.Hole{Kind: feed.TooLong, From: from, To: to, Messages: 1, Bytes: to - from, Cause: "too long"}, anchor(all[i].To).Hash)
	}
	src.Offer(all[:5], anchor)
	long(5)
	src.Offer(all[6:10], anchor)
	long(10)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if holes, at := listed(t, disk); len(holes) > 0 || at.At > 0 {
		t.Errorf("before anything is stored, the ledger lists %q, and the position is %d", holes, at.At)
	}
	s.Restart()
	idle(t, d)
	testkit.Eventually(t, func() string { return testkit.Unless(src.Position() == all[10].To, "the position does not move") })
	want := []string{fmt.Sprintf("too-long %d-%d %d", all[5].From.At, all[10].To.At, len("line 5\nline 10\n"))}
	testkit.Eventually(t, func() string {
		holes, at := listed(t, disk)
		return testkit.Unless(slices.Equal(holes, want) && at == anchor(all[10].To), fmt.Sprintf("holes %q, want %q, anchor %v, want %v", holes, want, at, anchor(all[10].To)))
	})
}

// nothing is a file that is not there any more.
type nothing struct{}

func (nothing) Replay(context.Context, string, feed.Position, feed.Position, func(*feed.Line) error) error {
	return os.ErrNotExist
}

// TestHoleOfWhatWasSent says that what an earlier run has sent of a file is not in the hole
// of what nobody has read.
func TestHoleOfWhatWasSent(t *testing.T) {
	s := logdtest.Start(t)
	disk := vfstest.New()
	l, _, err := ledger.Open(disk, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	known, err := l.Found(feed.File{Input: "in", Path: "/f", Size: 300}, false)
	if err != nil {
		t.Fatal(err)
	}
	run := func(from, to int64) []ledger.Run {
		return []ledger.Run{{Input: "in", Source: known.ID, From: feed.Position{At: from}, To: feed.Position{At: to}, Lines: 1, Bytes: to - from - 1}}
	}
	key := func(seq int64) ledger.Key {
		return ledger.Key{Topic: "t", PID: "00112233445566778899aabbccddeeff", Seq: seq}
	}
	for i, err := range []error{
		l.Sent(&ledger.Sent{Key: key(1), Size: 150, Messages: 1, Time: time.Now().UnixNano(), Runs: run(50, 120)}),
		l.Sent(&ledger.Sent{Key: key(2), Size: 150, Messages: 1, Time: time.Now().UnixNano(), Runs: run(120, 200)}),
		l.Stored(&ledger.Stored{Key: key(2), Offset: 1, Time: time.Now().UnixNano()}),
		l.Close(),
	} {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	cfg := config(t, s, disk)
	d := begin(t, cfg, input(t, "in", "t"))
	src := reads(t, d, d.Files("in")[0], nothing{})
	src.Hole(feed.Hole{Kind: feed.Truncated, To: 300, Messages: -1, Bytes: 300, Cause: "it is truncated"}, 0)
	d.Recover()
	idle(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	holes, at := listed(t, disk)
	slices.Sort(holes)
	want := []string{"truncated 0-50 50", "truncated 200-300 100", "unknown 50-120 69"}
	if !slices.Equal(holes, want) || at.At != 300 {
		t.Errorf("the ledger lists %q and has the position %d, want %q and 300", holes, at.At, want)
	}
}

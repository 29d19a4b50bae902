package files

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
	"github.com/logd-dev/logd/internal/forward/lines"
)

type state uint8

const (
	dormant  state = iota // of the ledger, and not found yet
	active                // its inode is known, and holds it
	replaced              // its inode holds something else
	lost                  // it is nowhere
)

// tail is a file, wherever it is: one source.
type tail struct {
	r      feed.Replayed
	replay *replayer
	// file is what is known of it. Its Position is read, but for a dormant one of which
	// more was sent than is answered.
	file  feed.File
	key   key
	state state
	first int64 // the scan that has seen it first
	seen  int64 // the last scan that has found it by the pattern
	// looked is the last one that has looked at it, and sight what that has seen: a scan need
	// not look at a file that rests.
	looked int64
	sight  found
	rests  bool
	untold time.Time // since when it has grown, though it rested and no event has told of it

	f       content
	split   lines.Splitter // stands at what is read next; before that may be what is not offered yet
	resumed bool           // split has its state
	check   feed.Anchor    // at split.At
	read    int64          // up to where all was offered or is a hole
	size    int64          // the largest one of a look that found the anchor in its place
	stat    int64          // that of the last look
	ctime   int64          // the time of change that the last scan has seen

	recent   []byte // what stands before recentTo: the last of what was read
	recentTo int64

	anchorAt bool // file.Position is read
	changed  bool // a look found other content
	excluded bool // by settings that came later
	failed   bool // not before the next scan
	queued   bool
	blocked  bool // it waits for room
	atEnd    bool // nothing was behind what was read last
	ended    bool // it has been at its end once
	complete bool // with Once, or draining: nothing more of it is read
	limit    int64

	rotated   bool // its path has another file, or it has another path
	outside   bool // the pattern does not find it
	away      bool // and it is not looked at any more
	finishing bool // a last line without LF is taken
	done      bool
	unlinked  time.Time // since when it has no name; it is only open
	spoolFull bool

	after, next *tail     // the file that had the path before, the one that has it next
	awaits      int64     // the scan that has found a copy which waits for it
	copyOf      *tail     // it began as a copy of this one
	copied      int64     // which up to here it has
	grown       time.Time // when it grew last, or was rotated
	told        time.Time // when the sink was told
	tell        bool      // something is to be told
	turned      time.Time // when it had its last turn
	marks       []mark
	stored      bool // all of size
}

// mark says when a size was seen.
type mark struct {
	size int64
	at   time.Time
}

func (in *input) newTail(f feed.File) *tail {
	now := time.Now()
	t := &tail{file: f, key: key{f.Device, f.Inode}, first: in.scans, grown: now, size: max(f.Size, f.Position), limit: -1}
	t.stat = -1
	t.split.Settings = in.Lines
	if set, err := lines.Parse(f.How); err == nil {
		t.split.LeadingNULs = set.LeadingNULs
	}
	t.file.How = t.split.Settings.String()
	t.tell = t.file.How != f.How
	t.replay = new(replayer)
	return t
}

// saw notes what a scan has seen of a file.
func (t *tail) saw(scan int64, sight found) { t.seen, t.looked, t.sight = scan, scan, sight }

// setRead says up to where all is offered, in a file of which nothing is read yet.
func (t *tail) setRead(at int64) {
	t.read = at
	t.anchorAt = at == t.file.Position
	t.split.State = lines.State{At: at}
	t.split.Seen = 0
	t.resumed = false
	if t.anchorAt {
		t.check = t.file.Anchors[0]
		for _, a := range t.file.Anchors {
			if a.At == at {
				t.check = a
			}
		}
	}
	t.size = max(t.size, at)
}

// moved says that all is offered, or a hole, up to the anchor.
func (t *tail) moved(a feed.Anchor) {
	if a.At == t.read {
		return
	}
	if t.file.Anchors[0].At == t.read || t.anchorAt {
		t.file.Anchors[1] = t.file.Anchors[0]
	}
	t.file.Anchors[0] = a
	t.read, t.file.Position, t.anchorAt = a.At, a.At, true
}

const recentMost = 4 << 10

// keepRecent keeps the last of what was read up to a place. b ends there.
func (t *tail) keepRecent(b []byte, from, to int64) {
	if from != t.recentTo {
		t.recent = t.recent[:0]
	}
	b = b[max(0, len(b)-recentMost):]
	if over := len(t.recent) + len(b) - recentMost; over > 0 {
		t.recent = t.recent[:copy(t.recent, t.recent[over:])]
	}
	t.recent, t.recentTo = append(t.recent, b...), to
}

// known is what is known of the file.
func (t *tail) known() feed.File {
	f := t.file
	f.Size = t.size
	return f
}

func (t *tail) setLines(set lines.Settings) {
	set.LeadingNULs = t.split.LeadingNULs
	if set == t.split.Settings {
		return
	}
	t.split.Settings = set
	t.split.Seen = 0
	t.file.How = set.String()
	t.tell = true
}

// unread reports whether there may be something to read.
func (t *tail) unread() bool {
	return !t.atEnd || t.size > t.split.At+int64(t.split.Seen) || t.finishing && !t.done
}

// grew says that a look found a size, with the anchor in its place.
func (t *tail) grew(size int64, now time.Time) {
	if size <= t.size {
		return
	}
	t.size = size
	t.stored = false
	t.grown = now
	t.atEnd, t.finishing, t.done, t.away = false, false, false, false
	t.mark(now)
}

// mark notes when the size was seen. There are few: the last one stands for what comes
// later, until the first ones are stored.
func (t *tail) mark(now time.Time) {
	n := len(t.marks)
	if n > 0 && (now.Sub(t.marks[n-1].at) < time.Second || n == 4) {
		t.marks[n-1].size = t.size
		return
	}
	t.marks = append(t.marks, mark{t.size, now})
}

// lag returns how much is not stored, and since when the oldest of it was seen.
func (t *tail) lag(now time.Time) (int64, time.Duration) {
	at := t.r.Position().At
	for len(t.marks) > 0 && t.marks[0].size <= at {
		t.marks = t.marks[1:]
	}
	if len(t.marks) == 0 {
		t.marks = nil
		return max(0, t.size-at), 0
	}
	return max(0, t.size-at), now.Sub(t.marks[0].at)
}

// shut closes the descriptor of a file, if it is open.
func (in *input) shut(t *tail) {
	if t.f != nil {
		t.f.Close()
		t.f = nil
		delete(in.opened, t)
		in.n.Open.Add(-1)
		in.m.open.Add(-1)
	}
}

// fail says that a file can't be read now. It is tried again after the next scan.
func (in *input) fail(t *tail, err error) {
	t.failed = true
	in.m.tell.say(sayAgain, slog.LevelWarn, place(&t.file), "file can't be read now; it is tried again", slog.String("input", in.name), slog.Any("error", err))
}

var errMany = errors.New("as many files are open as may be")

// room makes room for one more descriptor, if it can.
func (in *input) roomToOpen() error {
	if in.m.open.Load() < int64(in.m.o.MaxOpen) {
		return nil
	}
	if !in.spare() {
		return errMany
	}
	return nil
}

// spare closes the file that needs its descriptor least: one at its end, if there is one;
// one that is not rotated; that which had no turn for the longest. One that has no name is
// not closed.
func (in *input) spare() bool {
	var least *tail
	worth := func(t *tail) int {
		n := 0
		if t.unread() {
			n += 2
		}
		if t.rotated {
			n++
		}
		return n
	}
	for t := range in.opened {
		if !t.unlinked.IsZero() {
			continue
		}
		if least == nil || worth(t) < worth(least) || worth(t) == worth(least) && t.turned.Before(least.turned) {
			least = t
		}
	}
	if least == nil {
		return false
	}
	in.shut(least)
	return true
}

func keyOf(fi os.FileInfo) (key, uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return key{}, 1
	}
	return key{uint64(st.Dev), uint64(st.Ino)}, uint64(st.Nlink)
}

// content is what an open file holds.
type content interface {
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
}

// openFile opens a path for reading without waiting, as a pipe would have it.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.EINTR) {
		return openFile(path)
	}
	return f, err
}

// descriptor opens a path within the bounds. Whoever gets the file keeps it, or gives it
// back by drop.
func (in *input) descriptor(path string) (content, error) {
	if err := in.roomToOpen(); err != nil {
		return nil, err
	}
	f, err := in.m.openFile(path)
	if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && in.spare() {
		f, err = in.m.openFile(path)
	}
	if err != nil {
		return nil, err
	}
	in.n.Open.Add(1)
	in.m.open.Add(1)
	return f, nil
}

func (in *input) drop(f content) {
	f.Close()
	in.n.Open.Add(-1)
	in.m.open.Add(-1)
}

// open opens a file, if it is still in its place. If it is not, a scan looks for it.
func (in *input) open(t *tail) bool {
	if t.f != nil {
		return true
	}
	f, err := in.descriptor(place(&t.file))
	if err == nil {
		var fi os.FileInfo
		if fi, err = f.Stat(); err == nil {
			if k, _ := keyOf(fi); k != t.key {
				err = os.ErrNotExist
			}
		}
		if err != nil {
			in.drop(f)
		}
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		t.failed = true
		in.hurry()
		return false
	case err != nil:
		in.fail(t, err)
		return false
	}
	in.hold(t, f)
	return true
}

// hold keeps an open file for its tail.
func (in *input) hold(t *tail, f content) {
	t.f = f
	in.opened[t] = struct{}{}
}

// hurry asks for a scan.
func (in *input) hurry() {
	in.events.Lock()
	in.events.all = true
	in.events.Unlock()
	poke(in.wake)
}

// measure returns the size of a file, and whether it is that of what is known of it. The
// size comes first: what is still there afterwards was there when the size was taken. The
// other way round, a file that is written anew in between has its size taken for growth.
func (t *tail) measure(f content) (size int64, same bool, err error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	same, err = t.holds(f)
	return fi.Size(), same, err
}

// holds reports whether a file has what is known of it at its start and where reading
// stands.
func (t *tail) holds(f io.ReaderAt) (bool, error) {
	if ok, err := t.begins(f); !ok {
		return false, err
	}
	return identity.Holds(f, t.check)
}

// still reports whether the open file has what is known of it, and what was read of it at a
// place just before.
func (t *tail) still(b []byte, from int64) (bool, error) {
	if from == 0 {
		head := b[:min(len(b), identity.PrefixMost)]
		if n := t.file.PrefixLen; int64(len(head)) < n || identity.Hash(head[:n]) != t.file.Prefix && n > 0 {
			return false, nil
		}
		known := feed.File{PrefixLen: int64(len(head)), Prefix: identity.Hash(head)}
		if ok, err := identity.Begins(t.f, &known); !ok {
			return false, err
		}
	}
	return t.holds(t.f)
}

// begins reports whether a file begins as it is known to. Where it stands further than
// that, its anchor says enough, unless it is of NULs alone.
func (t *tail) begins(f io.ReaderAt) (bool, error) {
	if t.split.At < t.file.Text.At {
		if ok, err := identity.Holds(f, t.file.Text); !ok {
			return false, err
		}
	}
	if t.split.At >= identity.PrefixMost || t.file.PrefixLen == 0 {
		return true, nil
	}
	return identity.Begins(f, &t.file)
}

// extend takes more of a file's beginning for its prefix, once there is more. The anchor
// was found in its place just before; head is the beginning if it was read then, and if it
// was not, it counts only if the anchor is in its place also afterwards.
func (t *tail) extend(head []byte) error {
	if t.file.PrefixLen == identity.PrefixMost || t.size <= t.file.PrefixLen || t.f == nil {
		return nil
	}
	if head == nil {
		head = make([]byte, min(t.size, identity.PrefixMost))
		n, err := t.f.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return err
		}
		head = head[:n]
		if ok, err := t.still(head, 0); !ok {
			return err
		}
	}
	head = head[:min(len(head), identity.PrefixMost)]
	n := t.file.PrefixLen
	if int64(len(head)) <= n || n > 0 && identity.Hash(head[:n]) != t.file.Prefix {
		return nil
	}
	t.file.PrefixLen, t.file.Prefix = int64(len(head)), identity.Hash(head)
	t.tell = true
	return nil
}

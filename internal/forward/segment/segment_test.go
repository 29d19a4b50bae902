package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

var small = Options{Form: "test", Version: 1, Size: 512}

// contents returns what a log has.
func contents(t *testing.T, l *Log) (all []string) {
	t.Helper()
	err := l.Each(Ref{}, func(at Ref, kind uint32, content []byte) error {
		all = append(all, string(content))
		if _, got, err := l.Read(at, []byte("x")); err != nil || string(got) != "x"+string(content) || kind != uint32(len(content)%255+1) {
			t.Fatalf("Read at %v: %q, %v", at, got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func appendAll(t *testing.T, l *Log, all []string) {
	t.Helper()
	for _, s := range all {
		if _, err := l.Append(uint32(len(s)%255+1), []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, fsys vfs.FS, o Options) (*Log, []Damage) {
	t.Helper()
	l, damage, err := Open(fsys, "log", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, damage
}

func some(n int) (all []string) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		all = append(all, fmt.Sprintf("%d %s", i, strings.Repeat("x", rng.IntN(200))))
	}
	return all
}

func TestAppend(t *testing.T) {
	for _, reserve := range []bool{false, true} {
		disk := vfstest.New()
		o := small
		o.Reserve = reserve
		l, _ := open(t, disk, o)
		all := some(30)
		all[7] = strings.Repeat("y", 3000) // longer than a segment
		appendAll(t, l, all[:20])
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, damage := open(t, disk, o)
		if len(damage) > 0 {
			t.Fatal(damage)
		}
		appendAll(t, l, all[20:])
		if got := contents(t, l); !slices.Equal(got, all) {
			t.Fatalf("%d records, want %d: %q", len(got), len(all), got)
		}
		n := len(l.Segments())
		if n < 5 {
			t.Fatalf("%d segments", n)
		}
		for _, s := range l.Segments() {
			if err := l.Remove(s.Number); err != nil {
				t.Fatal(err)
			}
		}
		if got := contents(t, l); len(l.Segments()) != 1 || len(got) == 0 || !slices.Equal(got, all[len(all)-len(got):]) {
			t.Fatalf("after Remove: %q", got)
		}
	}
}

// TestCrash says that what was synced is there after a power cut, and what is there was
// appended, in order and from the first on. On a disk that lies it is not: so the test
// would see it.
func TestCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	lost, lies := 0, 0
	for i := range 400 {
		disk := vfstest.New()
		lying := i >= 300
		disk.IgnoreSync(lying)
		o := small
		o.Reserve = rng.IntN(2) == 0
		l, _ := open(t, disk, o)
		all, synced := some(rng.IntN(40)), 0
		for i, s := range all {
			appendAll(t, l, []string{s})
			if rng.IntN(5) == 0 {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				synced = i + 1
			}
		}
		image := disk.Crash(rng)
		l.Close()
		l, _ = open(t, image, o)
		got := contents(t, l)
		kept := len(got) >= synced && slices.Equal(got[:synced], all[:synced])
		if lying {
			if !kept {
				lies++
			}
			continue
		}
		if !kept || !subsequence(got, all) {
			t.Fatalf("%d of %d synced: %q\nwant the first of %q", len(got), synced, got, all)
		}
		if len(got) < len(all) {
			lost++
		}
		appendAll(t, l, []string{"more"})
		if again := contents(t, l); !slices.Equal(again, append(got, "more")) {
			t.Fatalf("after the crash: %q", again)
		}
		if l, damage := open(t, image, o); len(damage) > 0 {
			t.Fatalf("the second look finds %v", damage)
		} else {
			l.Close()
		}
	}
	if lost == 0 || lies == 0 {
		t.Errorf("%d crashes have lost something, %d something that a lying disk had synced: the test shows nothing", lost, lies)
	}
}

func subsequence(a, b []string) bool {
	for _, s := range b {
		if len(a) > 0 && a[0] == s {
			a = a[1:]
		}
	}
	return len(a) == 0
}

// TestFlip says that a bit that is flipped costs the record that it stands in and no
// other, and never makes one.
func TestFlip(t *testing.T) {
	disk := vfstest.New()
	all := some(12)
	o := small
	o.Size = 1 << 20
	l, _ := open(t, disk, o)
	appendAll(t, l, all)
	l.Close()
	name := l.name(1)
	good, err := disk.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		disk := vfstest.New()
		if err := disk.Mkdir("log", 0o700); err != nil {
			t.Fatal(err)
		}
		disk.WriteFile(name, bad)
		l, damage, err := Open(disk, "log", o)
		if errors.Is(err, ErrNewer) && bit/8 < len(l0) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got := contents(t, l)
		want := len(all) - 1
		if bit/8 < len(l0) {
			want = len(all)
		}
		if len(got) != want || !subsequence(got, all) || len(damage) != 1 || damage[0].Kept == "" {
			t.Fatalf("bit %d: %d records, damage %v", bit, len(got), damage)
		}
		kept, err := disk.ReadFile(damage[0].Kept)
		if err != nil || !bytes.Equal(kept, bad[damage[0].At:damage[0].At+damage[0].Bytes]) {
			t.Fatalf("bit %d: kept %d bytes, %v", bit, len(kept), err)
		}
		appendAll(t, l, []string{"more"})
		if got := contents(t, l); got[len(got)-1] != "more" {
			t.Fatalf("bit %d: %q", bit, got)
		}
		l.Close()
	}
}

const l0 = "test 1\n"

// TestInside has a record whose content is a segment: it is no record.
func TestInside(t *testing.T) {
	disk := vfstest.New()
	l, _ := open(t, disk, small)
	appendAll(t, l, []string{"one", "two"})
	inner, err := disk.ReadFile(l.name(1))
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, []string{string(inner), "last"})
	data, _ := disk.ReadFile(l.name(1))
	at := bytes.Index(data[60:], []byte("test 1")) + 60 - 16
	data[at] ^= 1 // the length of the record around it
	disk.WriteFile(l.name(1), data)
	l.Close()
	l, damage := open(t, disk, small)
	if got := contents(t, l); !slices.Equal(got, []string{"one", "two", "last"}) || len(damage) != 1 {
		t.Fatalf("%q, damage %v", got, damage)
	}
}

func TestFull(t *testing.T) {
	disk := vfstest.New()
	l, _ := open(t, disk, small)
	appendAll(t, l, []string{"one"})
	disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Written: 5})
	if _, err := l.Append(3, []byte("two")); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	appendAll(t, l, []string{"three"})
	if got := contents(t, l); !slices.Equal(got, []string{"one", "three"}) {
		t.Fatalf("%q", got)
	}
	disk.FailAt(1, vfstest.Fault{})
	for range 2 { // and nothing goes on after it
		if _, err := l.Append(4, []byte("four")); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
	if err := l.Sync(); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
}

func TestNewer(t *testing.T) {
	disk := vfstest.New()
	o := small
	o.Version = 2
	l, _ := open(t, disk, o)
	appendAll(t, l, []string{"one"})
	l.Close()
	if _, _, err := Open(disk, "log", small); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
}

// FuzzOpen says that no bytes make a start fail, or take long.
func FuzzOpen(f *testing.F) {
	disk := vfstest.New()
	l, _, err := Open(disk, "log", small)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range some(5) {
		l.Append(uint32(len(s)%255+1), []byte(s))
	}
	data, _ := disk.ReadFile(l.name(1))
	f.Add(data)
	f.Add([]byte("test 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := vfstest.New()
		disk.Mkdir("log", 0o700)
		disk.WriteFile(l.name(1), data)
		l, _, err := Open(disk, "log", small)
		if errors.Is(err, ErrNewer) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := l.Append(1, []byte("x")); err != nil {
			t.Fatal(err)
		}
		n := 0
		l.Each(Ref{}, func(Ref, uint32, []byte) error { n++; return nil })
		if n == 0 {
			t.Fatal("the new record is not there")
		}
	})
}

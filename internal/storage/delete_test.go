package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

func mustDelete(t testing.TB, s *Store, topic string, now bool) {
	t.Helper()
	if err := s.Delete(t.Context(), topic, layout.HexID(mustLog(t, s, topic).ID()), now); err != nil {
		t.Fatal(err)
	}
}

// keptFolders returns the folders in .deleted.
func keptFolders(t testing.TB, disk *vfstest.FS) []string {
	t.Helper()
	var names []string
	entries, _ := disk.ReadDir(deleted.Dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// waker counts how often it is woken.
type waker chan struct{}

func (w waker) Wake() { w <- struct{}{} }

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := small
		o.MaxTopics = 1
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		for _, body := range []string{"one", "two", "three"} {
			mustAppend(t, l, batchOf("t", body))
		}
		view, err := l.Read(0, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := make(waker, 1)
		if !l.Watch(l.Next(), w) {
			t.Fatal("there is more than was appended")
		}

		for _, id := range []string{"", "00", layout.HexID(journal.ID{}), layout.HexID(l.ID())[1:], layout.HexID(l.ID()) + "0"} {
			if err := s.Delete(t.Context(), "t", id, true); !errors.Is(err, ErrNotFound) {
				t.Fatalf("delete with the id %q: %v", id, err)
			}
		}
		if err := s.Delete(t.Context(), "other", layout.HexID(l.ID()), true); !errors.Is(err, ErrNotFound) {
			t.Fatalf("delete of no topic: %v", err)
		}
		if err := s.Delete(t.Context(), "t", strings.ToUpper(layout.HexID(l.ID())), false); err != nil {
			t.Fatal(err)
		}

		// Nothing of it is left in the store, and the old log says so.
		if len(s.Topics()) > 0 || s.Counts().Topics > 0 || len(s.Stats().Topics) > 0 {
			t.Errorf("topics %q, counts %+v", s.Topics(), s.Counts())
		}
		if _, err := s.Log([]byte("t")); !errors.Is(err, ErrNotFound) {
			t.Errorf("log of a deleted topic: %v", err)
		}
		<-w
		if l.Watch(l.Next(), w) {
			t.Error("a deleted topic is waited for")
		}
		if err := s.Delete(t.Context(), "t", layout.HexID(l.ID()), false); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}

		// Another topic of the name is none of the old log's business.
		again := mustCreate(t, s, "t")
		if again.ID() == l.ID() {
			t.Error("the new topic has the old id")
		}
		mustAppend(t, again, batchOf("t", "four"))
		run := batchOf("t", "never")
		if _, err := l.Append(t.Context(), run.data, run.extents); !errors.Is(err, ErrDeleted) {
			t.Errorf("append: %v", err)
		}
		for _, offset := range []int64{0, l.Next(), 1, 1 << 40} {
			// What is open can still be read, and nothing of the new topic.
			v, err := l.Read(offset, 100, 0)
			if err == nil {
				b, _ := readView(v)
				if strings.Contains(string(b), "four") {
					t.Errorf("read of the old topic at %d: %q", offset, b)
				}
			} else if !errors.Is(err, ErrDeleted) {
				t.Errorf("read at %d: %v", offset, err)
			}
		}
		if err := l.AdvanceOldest(l.Next()); !errors.Is(err, ErrDeleted) {
			t.Errorf("advance: %v", err)
		}
		if _, err := l.Trim(t.Context(), l.Next()); !errors.Is(err, ErrDeleted) {
			t.Errorf("trim: %v", err)
		}
		if err := l.TruncateTo(t.Context(), 0); !errors.Is(err, ErrDeleted) {
			t.Errorf("truncate: %v", err)
		}
		if err := l.Retain(time.Now()); err != nil {
			t.Errorf("retain: %v", err)
		}
		if b, err := readView(view); err != nil || !strings.Contains(string(b), "three") {
			t.Errorf("view of a deleted topic: %q, %v", b, err)
		}
		// Whoever is late finds none of its files, whose names others have now.
		for _, p := range l.Partitions() {
			for _, a := range []files.Access{files.ToRead, files.ToWrite, files.ToCreate} {
				if _, err := p.File().Acquire(a); !errors.Is(err, ErrDeleted) {
					t.Errorf("%s can be opened: %v", p.File().Name(), err)
				}
			}
			if err := p.File().Remove(); err != nil {
				t.Error(err)
			}
		}
		wantBodies(t, again, "four")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openMem(t, disk, o)
		defer s.Close()
		wantBodies(t, mustLog(t, s, "t"), "four")
	})
}

// The files of deleted topics are kept for a while, also those of one name, and
// over restarts. What is not ours is left alone.
func TestDeletedFilesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		strange := []string{"notes", "t~now~", "t~20260101T000000.000Z~00", "a b~now~" + layout.HexID(journal.ID{}), "t~tomorrow~" + layout.HexID(journal.ID{})}
		for _, name := range strange {
			if err := disk.WriteFile(path.Join(deleted.Dir, name, "file"), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := disk.WriteFile(path.Join(deleted.Dir, "t~now~"+layout.HexID(journal.ID{1})), []byte("x")); err != nil {
			t.Fatal(err)
		}
		const own = 6 // that are not ours
		s := openMem(t, disk, Options{DeleteAfter: time.Hour, FlushBatches: 1})
		long := strings.Repeat("l", 255)
		remove := func(topic string, now bool) {
			mustAppend(t, mustCreate(t, s, topic), batchOf(topic, "kept"))
			mustDelete(t, s, topic, now)
		}
		remove("t", false)
		remove("t", false)
		remove(long, false)
		remove("t", true)
		if names := keptFolders(t, disk); len(names) != own+3 {
			t.Fatalf("kept %q", names)
		}
		time.Sleep(50 * time.Minute)
		remove("u", false)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openMem(t, disk, Options{DeleteAfter: time.Hour})
		if topics := s.Topics(); len(topics) > 0 {
			t.Errorf("topics %q", topics)
		}
		if names := keptFolders(t, disk); len(names) != own+4 {
			t.Fatalf("after a restart kept %q", names)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		names := keptFolders(t, disk)
		i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "u~") })
		if len(names) != own+1 || i < 0 {
			t.Fatalf("after an hour kept %q", names)
		}
		// Put back by hand, as the documentation says.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := disk.Rename(path.Join(deleted.Dir, names[i]), "u"); err != nil {
			t.Fatal(err)
		}
		s = openMem(t, disk, Options{DeleteAfter: -1})
		wantBodies(t, mustLog(t, s, "u"), "kept")
		mustDelete(t, s, "u", false)
		if names := keptFolders(t, disk); len(names) != own {
			t.Errorf("nothing is to be kept, and is: %q", names)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The clock that is ahead when a topic is deleted, and right again later,
// neither shortens nor lengthens the time.
func TestDeletedFilesAndTheClock(t *testing.T) {
	for _, test := range []struct {
		stamp string
		gone  bool // at the first look
	}{
		{"20990101T000000.000Z", false},
		{"19991231T230000.000Z", true}, // the bubble's time begins at 2000-01-01
		{"19991231T230001.000Z", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfstest.New()
			folder := "t~" + test.stamp + "~" + layout.HexID(journal.ID{1})
			if err := disk.WriteFile(path.Join(deleted.Dir, folder, "0.log"), []byte("x")); err != nil {
				t.Fatal(err)
			}
			s := openMem(t, disk, Options{DeleteAfter: time.Hour})
			defer s.Close()
			synctest.Wait()
			if gone := len(keptFolders(t, disk)) == 0; gone != test.gone {
				t.Errorf("deleted at %s: gone at the start: %v, want %v", test.stamp, gone, test.gone)
			}
			time.Sleep(time.Hour + time.Minute)
			synctest.Wait()
			if names := keptFolders(t, disk); len(names) > 0 {
				t.Errorf("deleted at %s, kept for more than an hour: %q", test.stamp, names)
			}
		})
	}
}

// TestDeleteOnAFullDisk makes room by deleting a topic, whatever is missing for
// its folder to be moved; and what was kept goes as soon as room is wanted.
func TestDeleteOnAFullDisk(t *testing.T) {
	for _, what := range []struct {
		name  string
		fault *vfstest.Fault
	}{
		{"no bytes", nil},
		{"no folder", &vfstest.Fault{Err: syscall.ENOSPC, Forever: true, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpMkdir }}},
		{"no name", &vfstest.Fault{Err: syscall.EDQUOT, Forever: true, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpRename }}},
		{"mounted", &vfstest.Fault{Err: syscall.EBUSY, Forever: true, Match: func(op vfstest.Op) bool {
			return op.Name == "t" && (op.Kind == vfstest.OpRename || op.Kind == vfstest.OpRemove)
		}}},
	} {
		t.Run(what.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s := openMem(t, disk, small)
				defer s.Close()
				for _, topic := range []string{"t", "u"} {
					mustAppend(t, mustCreate(t, s, topic), batchOf(topic, strings.Repeat("x", 5000)))
				}
				u := mustLog(t, s, "u")
				disk.SetSpace(disk.Used())
				big := batchOf("u", strings.Repeat("y", 3000))
				if _, err := u.Append(t.Context(), big.data, big.extents); !errors.Is(err, ErrReadOnly) {
					t.Fatalf("append on a full disk: %v", err)
				}
				if what.fault != nil {
					disk.FailAt(1, *what.fault)
				}
				mustDelete(t, s, "t", false)
				disk.ClearFaults()
				if names := keptFolders(t, disk); len(names) > 0 {
					t.Errorf("kept %q", names)
				}
				mustAppend(t, u, big)
				disk.SetSpace(-1)
				mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "anew"))
				wantBodies(t, mustLog(t, s, "t"), "anew")
			})
		})
	}
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			disk := vfstest.New()
			s := openMem(t, disk, small)
			defer s.Close()
			for _, topic := range []string{"t", "u"} {
				mustAppend(t, mustCreate(t, s, topic), batchOf(topic, strings.Repeat("x", 5000)))
			}
			mustDelete(t, s, "t", false)
			if len(keptFolders(t, disk)) != 1 {
				t.Fatal("not kept although there is room")
			}
			disk.SetSpace(disk.Used())
			big := batchOf("u", strings.Repeat("y", 3000))
			_, err := mustLog(t, s, "u").Append(t.Context(), big.data, big.extents)
			if err == nil {
				return // the room was made while the append was on its way
			}
			if !errors.Is(err, ErrReadOnly) {
				t.Fatalf("append on a full disk: %v", err)
			}
			synctest.Wait()
			mustAppend(t, mustLog(t, s, "u"), big)
		})
	})
}

// deleteWays are the ways to make a folder go.
var deleteWays = []struct {
	name  string
	now   bool
	stays bool // it can't be renamed
}{{"kept", false, false}, {"now", true, false}, {"in place", false, true}}

// prepareDelete makes a topic to be deleted.
func prepareDelete(t *testing.T, disk *vfstest.FS, stays bool) (*Store, string) {
	s := openMem(t, disk, Options{FlushBatches: 1, PartitionSize: 1, Partitions: -1})
	l := mustCreate(t, s, "t")
	for i := range 3 {
		mustAppend(t, l, batchOf("t", fmt.Sprint(i)))
	}
	if stays {
		disk.FailAt(1, vfstest.Fault{Err: syscall.EXDEV, Forever: true, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpRename }})
	}
	return s, layout.HexID(l.ID())
}

// wholeOrGone opens what a crash has left: the topic with the id is whole or
// not there. It returns whether it is there.
func wholeOrGone(image *vfstest.FS, id string) (bool, error) {
	s, err := Open(context.Background(), Options{FS: image, FlushBatches: 1, PartitionSize: 1, Partitions: -1})
	if err != nil {
		return false, err
	}
	defer kill(s)
	if broken := s.Broken(); len(broken) > 0 {
		return false, fmt.Errorf("broken topics: %v", broken)
	}
	l, err := s.Log([]byte("t"))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if layout.HexID(l.ID()) != id {
		return false, fmt.Errorf("a topic with another id")
	}
	if got, err := bodiesFrom(l, 0); err != nil || fmt.Sprint(got) != "[0 1 2]" {
		return false, fmt.Errorf("a part of the topic is there: %q, %w: %q", got, err, image.Names())
	}
	return true, nil
}

// keptPartitions returns how many partitions are in .deleted.
func keptPartitions(disk *vfstest.FS) (n int) {
	for _, name := range disk.Names() {
		if strings.HasPrefix(name, deleted.Dir+"/") && strings.HasSuffix(name, ".log") {
			n++
		}
	}
	return n
}

// crashDelete looks at what a power cut leaves after each operation of a
// deletion, and after it.
func crashDelete(t *testing.T, now, stays bool, lie func(*vfstest.FS)) (err error) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s, id := prepareDelete(t, disk, stays)
		defer kill(s)
		if lie != nil {
			lie(disk)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		deleted := false
		look := func(op vfstest.Op) {
			for range 20 {
				image := disk.Crash(rng)
				there, e := wholeOrGone(image, id)
				switch {
				case e == nil && there && deleted:
					e = errors.New("the topic is back")
				case e == nil && !there && !now && !stays && keptPartitions(image) != 3:
					e = fmt.Errorf("what was to be kept is not: %q", image.Names())
				}
				if e != nil && err == nil {
					err = fmt.Errorf("after %s: %w", op, e)
				}
			}
		}
		disk.OnOp(look)
		mustDelete(t, s, "t", now)
		deleted = true
		look(vfstest.Op{})
		disk.OnOp(nil)
		synctest.Wait()
	})
	return err
}

func TestDeleteCrash(t *testing.T) {
	for _, way := range deleteWays {
		t.Run(way.name, func(t *testing.T) {
			if err := crashDelete(t, way.now, way.stays, nil); err != nil {
				t.Error(err)
			}
			// Controls: a disk that forgets what it was told to keep is found out.
			lie := func(d *vfstest.FS) { d.IgnoreSyncDir(true) }
			if way.stays {
				lie = func(d *vfstest.FS) { d.IgnoreSync(true) }
			}
			if crashDelete(t, way.now, way.stays, lie) == nil {
				t.Error("nothing was found on a disk that lies")
			}
		})
	}
}

// TestDeleteFaults fails each operation of a deletion. Whatever it returns, the
// topic is whole or gone; and gone for good if it returns nil.
func TestDeleteFaults(t *testing.T) {
	for _, way := range deleteWays {
		for _, failure := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
			t.Run(fmt.Sprintf("%s/%v", way.name, failure), func(t *testing.T) {
				for n, struck := 1, true; struck; n++ {
					synctest.Test(t, func(t *testing.T) {
						disk := vfstest.New()
						s, id := prepareDelete(t, disk, way.stays)
						var ops atomic.Int64 // the pass of the retention is an operation, too
						disk.FailAt(n, vfstest.Fault{Err: failure, Reads: true, Match: func(op vfstest.Op) bool {
							counts := !way.stays || op.Kind != vfstest.OpRename
							if counts {
								ops.Add(1)
							}
							return counts
						}})
						err := s.Delete(t.Context(), "t", id, way.now)
						struck = ops.Load() >= int64(n)
						disk.ClearFaults()
						l, gone := s.Log([]byte("t"))
						if err == nil && gone == nil {
							t.Errorf("operation %d: the topic is there", n)
						}
						if err != nil && !struck {
							t.Errorf("without a fault: %v", err)
						}
						if gone == nil {
							// It goes on, and can be deleted after all.
							// But the journal's own descriptor is told of an error of its sync, too.
							r := batchOf("t", "more")
							a, err := l.Append(t.Context(), r.data, r.extents)
							if err == nil {
								err = l.Commit(t.Context(), a)
							}
							if err != nil && !errors.Is(err, ErrReadOnly) {
								t.Errorf("operation %d: append: %v", n, err)
							}
							mustDelete(t, s, "t", way.now)
						} else if there, e := wholeOrGone(disk.CrashKeepNothing(), id); e != nil || err == nil && there {
							t.Errorf("operation %d, deleted (%v), and after a power cut: there %v, %v", n, err, there, e)
						}
						mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "anew"))
						wantBodies(t, mustLog(t, s, "t"), "anew")
						kill(s)
						s = openMem(t, disk.CrashKeepNothing(), Options{FlushBatches: 1})
						wantBodies(t, mustLog(t, s, "t"), "anew")
						kill(s)
					})
					if t.Failed() || n > 100 {
						t.Fatalf("operation %d", n)
					}
				}
			})
		}
	}
}

// TestDeletedMayComeBack deletes a topic whose folder can't be moved for good:
// as long as a power cut may bring it back nothing of it is removed.
func TestDeletedMayComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s, id := prepareDelete(t, disk, false)
		defer kill(s)
		mustCreate(t, s, "other")
		mustDelete(t, s, "other", true) // so that there is a place to move it to
		disk.FailAt(1, vfstest.Fault{Err: syscall.EIO, Forever: true, Match: func(op vfstest.Op) bool {
			return op.Kind == vfstest.OpSyncDir && (op.Name == "." || op.Name == deleted.Dir)
		}})
		if err := s.Delete(t.Context(), "t", id, true); err == nil {
			t.Fatal("deleted, and nothing of it is durable")
		}
		if _, err := s.Log([]byte("t")); !errors.Is(err, ErrNotFound) {
			t.Fatalf("log of a topic that was moved away: %v", err)
		}
		disk.ClearFaults()
		s.deleted.Empty()
		rng := rand.New(rand.NewPCG(5, 6))
		for range 50 {
			if _, err := wholeOrGone(disk.Crash(rng), id); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A topic that can't be opened or takes no appends can be deleted.
func TestDeleteBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushBatches: 1})
		l := mustCreate(t, s, "t")
		mustAppend(t, l, batchOf("t", "one"))
		disk.FailAt(1, vfstest.Fault{})
		run := batchOf("t", "two")
		if _, err := l.Append(t.Context(), run.data, run.extents); err == nil || l.Failed() == nil {
			t.Fatalf("append on a failing disk: %v", err)
		}
		in, err := l.Info(t.Context())
		if err != nil || in.ReadOnly == nil {
			t.Errorf("info of a failed topic: %+v, %v", in, err)
		}
		mustDelete(t, s, "t", false)
		kill(s)
		for _, damage := range []func([]byte){
			func(b []byte) { b[8] = 99; copy(b[12:], crcOf(b[:12])) }, // a newer version's
			nil, // can't be read
		} {
			disk := vfstest.New()
			s := openMem(t, disk, Options{})
			mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "one"))
			mustAppend(t, mustCreate(t, s, "u"), batchOf("u", "one"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if damage != nil {
				if err := disk.Corrupt("t/journal", 0, damage); err != nil {
					t.Fatal(err)
				}
			} else {
				disk.FailAt(1, vfstest.Fault{Forever: true, Reads: true, Match: func(op vfstest.Op) bool { return op.Name == "t/journal" }})
			}
			s = openMem(t, disk, Options{})
			if len(s.Broken()) != 1 {
				t.Fatalf("broken: %v", s.Broken())
			}
			in, ok := s.BrokenInfo("t")
			if !ok || in.ID == "" || in.ReadOnly == nil || in.Next == 0 || in.Partitions != 1 {
				t.Errorf("info of a broken topic: %+v", in)
			}
			if _, ok := s.BrokenInfo("u"); ok {
				t.Error("another topic is called broken")
			}
			if err := s.Delete(t.Context(), "t", layout.HexID(journal.ID{1}), false); !errors.Is(err, ErrNotFound) {
				t.Errorf("delete with another id: %v", err)
			}
			if err := s.Delete(t.Context(), "t", in.ID, false); err != nil {
				t.Errorf("delete of a broken topic: %v", err)
			}
			if topics := s.Topics(); len(topics) != 1 || len(keptFolders(t, disk)) != 1 {
				t.Errorf("topics %q, kept %q", topics, keptFolders(t, disk))
			}
			disk.ClearFaults()
			mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "anew"))
			if err := s.Delete(t.Context(), "t", in.ID, false); !errors.Is(err, ErrNotFound) {
				t.Errorf("the new topic was deleted: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// What waits for a sync when its topic is deleted is stored, or certainly not.
func TestDeleteWhileASyncIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushBatches: 1})
		l := mustCreate(t, s, "t")
		mustAppend(t, l, batchOf("t", "zero"))
		id := layout.HexID(l.ID())
		syncing, goOn := make(chan struct{}), make(chan struct{})
		hung := false
		disk.BeforeOp(func(op vfstest.Op) {
			if op.Kind == vfstest.OpSync && !hung {
				hung = true
				close(syncing)
				<-goOn
			}
		})
		results := make(chan error, 2)
		add := func(body string) {
			run := batchOf("t", body)
			a, err := l.Append(context.Background(), run.data, run.extents)
			if err == nil {
				err = l.Commit(context.Background(), a)
			}
			results <- err
		}
		go add("one")
		<-syncing
		go add("two")
		synctest.Wait() // it waits for the next sync
		deleted := make(chan error)
		go func() { deleted <- s.Delete(context.Background(), "t", id, false) }()
		synctest.Wait()
		close(goOn)
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-results; err != nil && (!errors.Is(err, ErrDeleted) || errors.Is(err, ErrInDoubt)) {
				t.Errorf("append: %v", err)
			}
		}
		disk.BeforeOp(nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Deletion runs no hooks, and what waits for one is gone.
func TestDeleteDropsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n noter
		s := openMem(t, vfstest.New(), holding(&n))
		defer s.Close()
		at := fill(t, mustCreate(t, s, "t"), 4)
		n.take()
		mustDelete(t, s, "t", false)
		if !slices.Equal(n.gone, at[:2]) {
			t.Errorf("gone %v, want %v", n.gone, at[:2])
		}
		if err := s.Release("t", at[0]); !errors.Is(err, ErrNotFound) {
			t.Errorf("release: %v", err)
		}
		if held := n.take(); len(held) > 0 {
			t.Errorf("held after the deletion: %v", held)
		}
	})
}

func crcOf(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))
}

// freeHook is a file system that calls a function before it says what room there is.
type freeHook struct {
	vfs.FS
	free func()
}

func (h *freeHook) Free() (int64, error) {
	h.free()
	return h.FS.Free()
}

// While the file system does not tell what room there is, nobody waits for a topic
// that is to be deleted.
func TestDeleteHoldsNoLockWhileItLooksForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		thaw := make(chan struct{})
		hangs := false
		fsys := &freeHook{vfstest.New(), func() {
			if hangs {
				<-thaw
			}
		}}
		s := openStore(t, Options{FS: fsys, FlushBatches: 1})
		l := mustCreate(t, s, "t")
		hangs = true
		done := make(chan error, 1)
		go func() { done <- s.Delete(t.Context(), "t", layout.HexID(l.ID()), false) }()
		synctest.Wait()
		appended := make(chan error, 1)
		go func() {
			r := batchOf("t", "x")
			a, err := l.Append(t.Context(), r.data, r.extents)
			if err == nil {
				err = l.Commit(t.Context(), a)
			}
			appended <- err
		}()
		synctest.Wait()
		select {
		case err := <-appended:
			must(t, err)
		default:
			t.Error("an append waits")
		}
		close(thaw)
		must(t, <-done)
	})
}

package storage

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// What a crash leaves of a deletion, whichever step it comes at, is neither
// damage nor a repair's business: the topic is whole, or the next start finishes.
func TestCheckDeletedCrash(t *testing.T) {
	for _, way := range deleteWays {
		t.Run(way.name, func(t *testing.T) {
			marked := 0
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s, id := prepareDelete(t, disk, way.stays)
				defer kill(s)
				rng := rand.New(rand.NewPCG(3, 4))
				disk.OnOp(func(op vfstest.Op) {
					for range 20 {
						if t.Failed() {
							return
						}
						m, err := checkDeleted(t, disk.Crash(rng), id)
						if err != nil {
							t.Errorf("after %s: %v", op, err)
						}
						if m {
							marked++
						}
					}
				})
				mustDelete(t, s, "t", way.now)
				disk.OnOp(nil)
				synctest.Wait()
			})
			if (marked > 0) != way.stays {
				t.Errorf("%d crashes left a topic that is marked as deleted", marked)
			}
		})
	}
}

// checkDeleted checks and repairs what a crash has left of a deletion, and
// reports whether the topic was marked as deleted.
func checkDeleted(t *testing.T, image *vfstest.FS, id string) (marked bool, err error) {
	b, err := journal.Read(image, "t")
	if err != nil {
		return false, err
	}
	marked = journal.IsDeleted(b)
	found, r := check(t, image)
	if r.Damages+r.Unchecked > 0 {
		return marked, fmt.Errorf("found %+v", found)
	}
	if marked {
		if len(found) != 1 || found[0].Kind != fsck.FoundUnfinished || found[0].Topic != "t" || r.Topics+r.Partitions > 0 {
			return marked, fmt.Errorf("found %+v, %+v", found, r)
		}
		if planned, _ := repair(t, image, true); planned != nil {
			return marked, fmt.Errorf("a repair would do %+v", planned)
		}
	}
	before := tree(t, image)
	done, report := repair(t, image, false)
	if report.Failed != nil {
		return marked, fmt.Errorf("repair: %v", report.Failed)
	}
	if marked {
		if err := sameTree(before, tree(t, image)); done != nil || err != nil {
			return marked, fmt.Errorf("the repair did %+v: %v", done, err)
		}
	}
	if there, err := wholeOrGone(image, id); err != nil || marked && there {
		return marked, fmt.Errorf("after the repair the topic is there: %v, %w", there, err)
	}
	return marked, nil
}

// steppedFS calls step before each operation that looks at something.
type steppedFS struct {
	vfs.FS
	step func()
}

func (f *steppedFS) Stat(name string) (fs.FileInfo, error) { f.step(); return f.FS.Stat(name) }

func (f *steppedFS) ReadDir(name string) ([]fs.DirEntry, error) { f.step(); return f.FS.ReadDir(name) }

func (f *steppedFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f.step()
	return f.FS.OpenFile(name, flag, perm)
}

// An online check finds nothing where a topic goes while it looks, whichever step
// of the check that comes at, nor where another takes the name.
func TestCheckOnlineBesideDelete(t *testing.T) {
	other := journal.NewState()
	other.ID = journal.NewID()
	for _, how := range []string{"moved", "in place", "made anew"} {
		t.Run(how, func(t *testing.T) {
			for n, steps := 1, 1; n <= steps && !t.Failed(); n++ {
				disk, _ := lay(t)
				must(t, disk.Mkdir(deleted.Dir, 0o700))
				steps = 0
				stepped := &steppedFS{disk, func() {
					switch steps++; {
					case steps != n:
					case how == "in place":
						must(t, deleted.Mark(disk, "t"))
						must(t, disk.Remove("t/0.log"))
					default:
						must(t, disk.Rename("t", path.Join(deleted.Dir, "t")))
						if how == "made anew" {
							must(t, disk.WriteFile("t/journal", other.Encode()))
							must(t, disk.WriteFile("t/0.log", nil))
						}
					}
				}}
				_, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: stepped, Online: true}, func(f fsck.Finding) {
					if f.Level != fsck.Note {
						t.Errorf("deleted at step %d: found %+v", n, f)
					}
				})
				must(t, err)
			}
		})
	}
}

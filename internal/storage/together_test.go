package storage

import (
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestSyncTogetherSyncsNames: what SyncTogether returns nil for is found after a
// power cut, also a topic in which nothing was ever appended, whoever else syncs it.
func TestSyncTogetherSyncsNames(t *testing.T) {
	found := func(t *testing.T, disk *vfstest.FS) {
		t.Helper()
		s := openMem(t, disk.CrashKeepNothing(), Options{})
		defer s.Close()
		mustLog(t, s, "t")
	}
	for name, beside := range map[string]func(*Store, *Log, *vfstest.FS) (end func()){
		"alone": func(*Store, *Log, *vfstest.FS) func() { return func() {} },
		"on another device": func(_ *Store, l *Log, _ *vfstest.FS) func() {
			l.Inside().Member().OtherDevice.Store(true)
			return func() {}
		},
		"beside a leader": func(_ *Store, l *Log, _ *vfstest.FS) func() {
			l.Inside().Group().Lead()
			return func() { l.Inside().Group().Done(nil) }
		},
		"beside another who hangs": func(s *Store, l *Log, disk *vfstest.FS) func() {
			thaw := make(chan struct{})
			disk.BeforeOp(func(op vfstest.Op) {
				if op.Kind == vfstest.OpSyncDir {
					<-thaw
				}
			})
			go s.SyncTogether([]*Log{l}, nil)
			synctest.Wait()
			return func() { close(thaw) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s := openMem(t, disk, Options{Managed: true})
				defer s.Close()
				l := mustCreate(t, s, "t")
				end := beside(s, l, disk)
				done := make(chan []error, 1)
				go func() {
					errs, _ := s.SyncTogether([]*Log{l}, nil)
					done <- errs
				}()
				synctest.Wait()
				select {
				case errs := <-done:
					must(t, errs[0])
					found(t, disk)
					end()
				default:
					end()
					errs := <-done
					must(t, errs[0])
					found(t, disk)
				}
			})
		})
	}
}

// TestTopicThatIsPutBackIsSynced: a topic whose folder somebody has put into the work
// directory is found after a power cut, if what was appended to it counts as stored.
func TestTopicThatIsPutBackIsSynced(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushBatches: 1})
	defer s.Close()
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "zero"))
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "one")) // too soon for another mark: it is recovered
	mustDelete(t, s, "t", false)
	must(t, disk.Rename(deleted.Dir+"/"+keptFolders(t, disk)[0], "t"))
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "two"))
	s2 := openMem(t, disk.CrashKeepNothing(), Options{})
	defer s2.Close()
	wantBodies(t, mustLog(t, s2, "t"), "zero", "one", "two")
}

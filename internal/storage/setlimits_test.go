package storage

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestSetLimits: an open store keeps to what it was told last.
func TestSetLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openMem(t, vfstest.New(), Options{PartitionSize: 1, Partitions: 8, FlushInterval: -1, MaxTopics: 1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		at := fill(t, l, 6)
		refused := func(name string, want error) {
			t.Helper()
			if _, err := s.Create([]byte(name)); !errors.Is(err, want) {
				t.Errorf("create %s: %v, want %v", name, err, want)
			}
		}
		oldest := func(want int64) {
			t.Helper()
			synctest.Wait()
			if got := l.Oldest(); got != want {
				t.Errorf("the log begins at %d, want %d", got, want)
			}
		}
		refused("u", ErrMaxTopics)
		s.SetLimits(Limits{Retention: topic.Limits{Partitions: 4}, AllowedTopics: []string{"u"}})
		oldest(at[2])
		refused("v", ErrTopicNotAllowed)
		mustCreate(t, s, "u")
		newest := mustAppend(t, l, batchOf("t", "what is there stays, whatever may be made"))
		oldest(at[3])

		s.SetLimits(Limits{Retention: topic.Limits{Bytes: 1}})
		oldest(newest.Offset)
		mustCreate(t, s, "v")

		// An age that was none is kept to in time.
		mustAppend(t, l, batchOf("t", "old"))
		s.SetLimits(Limits{Retention: topic.Limits{Age: time.Second}})
		time.Sleep(1200 * time.Millisecond)
		oldest(l.Next())
	})
}

// TestSetKeepFree: what is held goes by the room that is to be free now.
func TestSetKeepFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := holding(new(noter))
		disk := &keptRoom{vfstest.New(), 1 << 20}
		o.FS = disk
		s := openStore(t, o)
		l := mustCreate(t, s, "t")
		fill(t, l, 4)
		if l.Oldest() != 0 {
			t.Fatal("a partition that is held is gone")
		}
		s.SetLimits(Limits{Retention: topic.Limits{Partitions: 2}, KeepFree: 1 << 50})
		synctest.Wait()
		if l.Oldest() == 0 {
			t.Error("nothing went to keep room free")
		}
	})
}

package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// A record whose sync has failed can be read, and will be gone with the power. Who
// opens the topic meanwhile, and has another record made durable behind it, must not
// lose that one, too.
func TestJournalIsWrittenAgain(t *testing.T) {
	disk, o := vfstest.New(), Options{PartitionSize: 100, Partitions: -1, FlushInterval: -1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	var bases []int64
	for range 6 {
		bases = append(bases, mustAppend(t, l, batchOf("t", strings.Repeat("x", 60))).Offset)
	}
	must(t, l.SyncTo(t.Context(), l.Next()))
	disk.FailSync("t/journal")
	if err := l.TruncateTo(t.Context(), bases[5]); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("TruncateTo while the journal can't be synced: %v", err)
	}
	disk.ClearFaults()
	kill(s)

	s = openMem(t, disk, o)
	l = mustLog(t, s, "t")
	must(t, l.AdvanceOldest(bases[2]))
	disk = disk.CrashKeepNothing()
	kill(s)

	s = openMem(t, disk, o)
	defer s.Close()
	l = mustLog(t, s, "t")
	for _, name := range disk.Names() {
		if name == "t/journal.damaged" {
			t.Error("the journal is damaged")
		}
	}
	if l.Begin() < bases[2] || len(*l.Damaged()) > 0 {
		t.Errorf("it begins at %d, with damage %v", l.Begin(), *l.Damaged())
	}
}

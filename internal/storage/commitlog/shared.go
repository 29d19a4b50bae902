package commitlog

import (
	"io/fs"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/numbers"
	"github.com/logd-dev/logd/internal/storage/syncs"
	"github.com/logd-dev/logd/internal/vfs"
)

// Observer is told what the store does. Its methods are called on the way of
// the work and must not block; they are called concurrently.
type Observer interface {
	// Appended is called after each write of a group of appends.
	Appended(took time.Duration, bytes, batches, messages int64)
	// Synced is called after each sync of a log, failed or not.
	Synced(took time.Duration)
}

// Shared is what the logs of a store have in common: its settings, which all have
// their values, what its logs use together, and whom they tell of what concerns more
// than one of them. A log knows its store by this alone.
type Shared struct {
	Clock    clock.Clock
	Logger   *slog.Logger
	Observer Observer
	Holder   Holder // nil: nobody

	FileMode       fs.FileMode // of data files
	Managed        bool
	Policy         Policy
	QueueBytes     int64
	JournalCompact int64 // the size past which a journal is written anew

	FS      vfs.FS
	Files   *files.Cache
	Syncs   *syncs.Queue
	Deleted *deleted.Topics
	Numbers *numbers.Keeper
	Device  uint64 // that the work directory is on

	Owner Owner
	// Unsynced is armed when something was appended that nobody waits to have synced.
	Unsynced *clock.Alarm

	Rules    atomic.Pointer[Rules]
	KeepFree atomic.Int64

	Misses   atomic.Int64  // reads of offsets that do not exist
	Forced   atomic.Int64  // partitions removed although they were held
	Troubles atomic.Uint64 // times that a log has failed, or that what is set aside has changed

	AgeHeld atomic.Bool // nothing is removed by age: the clock may be wrong

	marks    markLimit
	lacks    lack
	requests requestPool
}

// Owner is a store as its logs see it. What an append or a read that succeeds asks of it
// is Begun alone, with a new partition. Where nothing else is said the caller may hold
// locks of the log, and the store takes none but its leaves.
type Owner interface {
	// FreeFiles syncs what is written, so that the files of it need not stay open. The
	// caller holds no lock that a sync wants.
	FreeFiles()
	// FreeRoom asks for the room of what need not be kept.
	FreeRoom()
	// SyncLater asks for another try to sync the names of a log, soon.
	SyncLater()
	// Begun tells that a partition of a log was begun.
	Begun(l *Log)
	// Gone tells that a log was deleted: it is not one of the store's any more.
	Gone(l *Log)
	// Unmake calls gone while no topic is made, and removes what there is of the log's
	// folder if that reports true. The caller holds no lock of the log.
	Unmake(l *Log, gone func() bool)
}

// DeviceOf returns the number of the device that a file is on, or 0 where there
// is no such thing.
func DeviceOf(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(sys.Dev)
	}
	return 0
}

// Package vfstest is a file system in memory for tests: it forgets what was
// not synced when its power is cut, and fails when it is told to.
//
//	disk := vfstest.New()
//	disk.OnOp(func(op vfstest.Op) {
//		image := disk.Crash(rng) // the power fails here; disk goes on
//		recoverAndCheck(image)
//	})
//	runWorkload(disk)
//
// # What a power cut leaves
//
// A file has bytes that were synced and, since then, writes and truncations
// in order; a folder has names that were synced and, since then, entries
// created, renamed and removed. Sync of a file makes its bytes and length
// durable and not its name; [FS.SyncDir] makes the names in one folder durable
// and nothing else. [FS.Crash] returns a new FS in one of the
// states that a power cut may leave, chosen by a seeded generator:
// everything unsynced lost or kept, the state of an earlier moment, or for
// each file and each entry a choice of its own:
//
//   - of a file, a prefix of its unsynced changes, the last one torn at any
//     byte, sector or page;
//   - or each 512 byte sector, or 4 KiB page, as it was at some moment since
//     the last sync, and the length as it was at some other moment. Bytes
//     within the length that never arrived read as zeros. Bytes that a
//     truncation cut off do not come back unless the truncation is lost too;
//   - of the entries, any subset in which the changes of one name are a
//     prefix of what happened to it. A rename within a folder is kept or lost
//     as a whole. After one from folder to folder a file is under the old
//     name, the new one or both: syncing the new folder makes the new name
//     durable, syncing the old folder both changes. A folder is never in two
//     places: its rename is kept or lost as a whole, and syncing either of the
//     two folders makes it durable.
//
// [FS.CrashKeepNothing] returns the strictest state, in which only what was
// synced is left. Images share bytes with the file system that they come from
// and cost microseconds; they have no open files, locks, hooks, faults,
// limits or trace of their own, and everything in them counts as synced.
//
// # Faults
//
// [FS.FailAt] fails the n-th operation from now, once or for good, with any
// error, a write with or without some of its bytes. [FS.FailSync] fails the
// syncs of matching names, [FS.SetSpace] makes a disk that is full until
// something is freed, [FS.SetMaxOpen] one that runs out of descriptors,
// [FS.FailWriteback] one that can't write what it has taken.
//
// A sync or a write-back that fails forgets as Linux does: what was unsynced
// stays readable, counts as clean and never becomes durable. It is reported as
// Linux does that (errseq_t): by Sync once to each handle of the file that was
// open then, by SyncAll once, and to those who open the file later only while
// nobody was told. Then syncs succeed. What nobody was told is forgotten with the
// last handle, since the kernel may forget the file then; of a folder, which
// has no handles here, the next SyncDir is told. [FS.IgnoreSync] and
// [FS.IgnoreSyncDir] make a disk that lies, for negative controls. A function
// given to [FS.BeforeOp] that blocks makes a disk that hangs.
//
// [FS.OnOp] and [FS.Trace] show the operations that change something, in
// order. [FS.ReadFile], [FS.WriteFile], [FS.Corrupt] and [FS.Names] go around
// all of this.
//
// # Limits
//
// An operation is atomic with respect to Crash: an image of the middle of a
// write is one of those that the finished write may leave. Lost blocks read
// as zeros and never as another file's bytes. What was unsynced when a sync
// failed is in no image, although some of it might have arrived. Space is
// counted in bytes of length: holes count, names do not. There are no links,
// no permissions and no files above 4 GiB. The device's own lies are
// IgnoreSync's and Corrupt's matter.
//
// All methods are safe for concurrent use.
package vfstest

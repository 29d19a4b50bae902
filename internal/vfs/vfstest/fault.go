package vfstest

import (
	"path"
	"slices"
	"syscall"
)

// Fault is a way for an operation to fail. The zero Fault is an EIO, once.
type Fault struct {
	// Err is the error, EIO if nil. Methods wrap it as package os does.
	Err error
	// Written is how many of its bytes a failing write still writes, at most
	// all but one; the same for a failing read.
	Written int64
	// Forever makes all later operations that count fail too.
	Forever bool
	// Reads has the operations count that change nothing: opening, reading,
	// listing and describing.
	Reads bool
	// Match, if not nil, chooses the operations that count, of those that
	// would otherwise. It must not use the FS.
	Match func(Op) bool
}

// armed is a fault and how many operations are left until it strikes.
type armed struct {
	Fault
	left int
}

// FailAt has the n-th operation from now fail, the first being n = 1. Several
// faults may wait at once, each with its own count. It panics if n < 1.
func (f *FS) FailAt(n int, fault Fault) {
	if n < 1 {
		panic("vfstest: FailAt counts from 1")
	}
	if fault.Err == nil {
		fault.Err = syscall.EIO
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &armed{fault, n})
}

// FailSync has every Sync of a file and SyncDir of a folder fail with EIO
// whose name matches the pattern, as path.Match has it. It panics if the
// pattern is malformed.
func (f *FS) FailSync(pattern string) {
	if _, err := path.Match(pattern, ""); err != nil {
		panic("vfstest: " + err.Error())
	}
	f.FailAt(1, Fault{Forever: true, Match: func(op Op) bool {
		ok, _ := path.Match(pattern, op.Name)
		return ok && (op.Kind == OpSync || op.Kind == OpSyncDir || op.Kind == OpSyncAll)
	}})
}

// FailWriteback does what a write-back in the background does that fails: what
// the files and folders have unsynced whose names match the pattern, as
// path.Match has it, never becomes durable, and who syncs them, or all, is told.
// It panics if the pattern is malformed.
func (f *FS) FailWriteback(pattern string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var walk func(n *node, name string)
	walk = func(n *node, name string) {
		matched, err := path.Match(pattern, name)
		switch {
		case err != nil:
			panic("vfstest: " + err.Error())
		case matched && n.isDir():
			f.failEntries(n)
		case matched:
			f.fail(n)
		}
		for base, child := range n.entries {
			walk(child, path.Join(name, base))
		}
	}
	walk(f.root, ".")
	f.compact()
}

// ClearFaults forgets the faults of FailAt and FailSync.
func (f *FS) ClearFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Faults returns how many operations have failed by FailAt or FailSync. A
// sweep over n ends with the first run that leaves it 0.
func (f *FS) Faults() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faulted
}

// fault counts an operation and returns the fault that it meets, if any. The
// caller holds mu.
func (f *FS) fault(op *Op) *Fault {
	var met *Fault
	f.faults = slices.DeleteFunc(f.faults, func(a *armed) bool {
		if !a.Reads && !op.Kind.Mutates() || a.Match != nil && !a.Match(*op) {
			return false
		}
		if a.left--; a.left > 0 {
			return false
		}
		if met == nil {
			met = &a.Fault
		}
		return !a.Forever
	})
	if met != nil {
		f.faulted++
	}
	return met
}

// SetSpace limits the sum of the lengths of all files, those included that
// were removed and are still open. A write that finds too little space writes
// what fits and fails with ENOSPC, a Truncate that finds too little does
// nothing. A negative limit is none.
func (f *FS) SetSpace(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = bytes
}

// Free implements vfs.FS: what SetSpace has left, or 1 TiB without a limit.
func (f *FS) Free() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space < 0 {
		return 1 << 40, nil
	}
	return max(f.space-f.used, 0), nil
}

// Used returns the sum that SetSpace limits.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// SetMaxOpen limits the number of open files and locks. At the limit every
// operation fails with EMFILE that needs a descriptor, if only for a moment.
// A negative limit is none.
func (f *FS) SetMaxOpen(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maxOpen = n
}

// Open returns the number of files and locks that are open, for tests that
// look for leaks.
func (f *FS) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// descriptor reports EMFILE at the limit. The caller holds mu.
func (f *FS) descriptor() error {
	if f.maxOpen >= 0 && f.open >= f.maxOpen {
		return syscall.EMFILE
	}
	return nil
}

// IgnoreSync has Sync of files succeed and do nothing, or no longer.
func (f *FS) IgnoreSync(ignore bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ignoreSync = ignore
}

// IgnoreSyncDir has SyncDir succeed and do nothing, or no longer.
func (f *FS) IgnoreSyncDir(ignore bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ignoreSyncDir = ignore
}

package vfstest

import (
	"fmt"
	"strings"
)

// Kind is what an operation does. The kinds from OpCreate to OpSyncAll change
// something, those from OpOpen on only look.
type Kind uint8

// The kinds of operations.
const (
	OpCreate   Kind = iota + 1 // a new file, also by Lock
	OpMkdir                    // a new folder
	OpWrite                    // WriteAt and WritevAt
	OpTruncate                 // Truncate, and opening with that flag
	OpSync                     // Sync
	OpRename
	OpRemove
	OpSyncDir
	OpSyncAll

	OpOpen
	OpRead
	OpReadDir
	OpStat
)

var kindNames = [...]string{
	OpCreate: "create", OpMkdir: "mkdir", OpWrite: "write", OpTruncate: "truncate", OpSync: "sync",
	OpRename: "rename", OpRemove: "remove", OpSyncDir: "syncdir", OpSyncAll: "syncall",
	OpOpen: "open", OpRead: "read", OpReadDir: "readdir", OpStat: "stat",
}

// String returns the word that stands for the kind in a trace.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", k)
	}
	return kindNames[k]
}

// Mutates reports whether operations of the kind change something.
func (k Kind) Mutates() bool { return k <= OpSyncAll }

// Op is one operation that got as far as the disk: one that fails because a
// name is missing or taken, or a file closed, is none.
type Op struct {
	N    int    // counts the operations that change something, from 1
	Kind Kind   // what it does
	Name string // of a file: the name by which it was opened
	To   string // OpRename: the new name
	Off  int64  // OpWrite, OpRead: where
	Len  int64  // OpWrite, OpRead: how much; OpTruncate: the new length
	Done int64  // OpWrite: how much of it was written
	Err  error  // what it failed with
}

// String returns the operation's line in a trace: "write t/0.log 0+113".
func (o Op) String() string {
	var b strings.Builder
	b.WriteString(o.Kind.String())
	if o.Name != "" {
		b.WriteByte(' ')
		b.WriteString(o.Name)
	}
	switch o.Kind {
	case OpRename:
		b.WriteByte(' ')
		b.WriteString(o.To)
	case OpWrite, OpRead:
		fmt.Fprintf(&b, " %d+%d", o.Off, o.Len)
	case OpTruncate:
		fmt.Fprintf(&b, " %d", o.Len)
	}
	if o.Err != nil {
		if o.Kind == OpWrite {
			fmt.Fprintf(&b, ": %d written", o.Done)
		}
		fmt.Fprintf(&b, ": %v", o.Err)
	}
	return b.String()
}

// OnOp has fn called after each operation that changes something, failed ones
// included, in the goroutine that does it and before it returns. Nil ends
// that. fn may use f, to crash it above all, but must not change it through
// the methods of vfs.FS. Where operations run at the same time, so does fn.
func (f *FS) OnOp(fn func(Op)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = fn
}

// BeforeOp has fn called before each operation that is to change something,
// also one that then turns out not to reach the disk. The N that it sees is
// the one that the operation will have if no other comes first. Otherwise it
// is as OnOp. While fn blocks the operation hangs, and others do not.
func (f *FS) BeforeOp(fn func(Op)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = fn
}

// Ops returns the number of operations so far that changed something or
// failed in trying.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Trace returns those operations since New or ResetTrace, a line each.
func (f *FS) Trace() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, op := range f.trace {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// ResetTrace empties the trace. The count of operations goes on.
func (f *FS) ResetTrace() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace = nil
}

// mutate runs one operation that changes something: body does it, under the
// lock, and calls [FS.reach] once it knows that the operation gets as far as
// the disk.
func (f *FS) mutate(op *Op, body func() error) error {
	f.mu.Lock()
	op.N = f.ops + 1
	before := f.before
	f.mu.Unlock()
	if before != nil {
		before(*op)
	}

	f.mu.Lock()
	op.N = 0
	err := body()
	reached := op.N != 0
	if reached {
		op.Err = err
		f.trace = append(f.trace, *op)
	}
	after := f.after
	f.mu.Unlock()
	if reached && after != nil {
		after(*op)
	}
	return err
}

// reach numbers an operation that changes something and returns the fault
// that it meets, if any. The caller holds mu.
func (f *FS) reach(op *Op) *Fault {
	f.ops++
	op.N = f.ops
	return f.fault(op)
}

// look returns the error of the fault that an operation that changes nothing
// meets. The caller holds mu.
func (f *FS) look(op Op) error {
	if fault := f.fault(&op); fault != nil {
		return fault.Err
	}
	return nil
}

package cluster

import (
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestVoidIsDurableFirst: bytes are cut off only when no power cut can leave an entry
// that names them.
func TestVoidIsDurableFirst(t *testing.T) {
	s := newSim(t, 1, 1)
	m := s.members[0]
	d := &m.node.disk
	l, err := m.store.CreateAs("t", entry.ID{1}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	number := GroupOf("t", simGroups)
	m.node.topics.Put(number, 1, l)
	wire := []byte(testkit.Batch("t", "void"))
	run := &storage.Run{Data: wire, Extents: []batch.Extent{{Len: int64(len(wire)), Messages: 1}}, Roll: true}
	if _, err := l.AppendRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	data := entry.Append(nil, &entry.Round{Runs: []entry.Run{{Topic: 1, Bytes: uint32(len(wire)), Batches: 1, Messages: 1, Roll: true}}})
	if err := d.log.Append(grouplog.Record{Kind: grouplog.Entry, Group: number, Index: 2, Term: 1, Data: data}); err != nil {
		t.Fatal(err)
	}
	if err := d.log.File().Sync(); err != nil {
		t.Fatal(err)
	}
	m.node.topics.Sync([]*storage.Log{l}, nil)

	cut := false
	m.disk.OnOp(func(op vfstest.Op) {
		if op.Kind != vfstest.OpTruncate || !strings.HasSuffix(op.Name, "/0.log") {
			return
		}
		cut = true
		rec, err := grouplog.Open(m.disk.CrashKeepNothing())
		if err != nil {
			t.Error(err)
		} else if last := rec.Groups[number].Last(); last != 1 {
			t.Errorf("a power cut leaves entries up to %d, and their bytes are cut off", last)
		}
	})
	task := &diskTask{group: number}
	if err := d.store(task, &group.Store{Seq: 1, Void: 2, Cuts: []group.VoidRun{{Topic: 1, Offset: 0}}}); err != nil {
		t.Fatal(err)
	}
	m.disk.OnOp(nil)
	if !cut || l.Next() != 0 {
		t.Errorf("cut %v; it ends at %d", cut, l.Next())
	}
}

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestRewriteTail: what a disk has lost although it said that it was synced is there
// again, as far as it can be read.
func TestRewriteTail(t *testing.T) {
	for _, first := range []int{0, 2, 4, 8} {
		disk, o := vfstest.New(), Options{PartitionSize: 300, Partitions: -1, Managed: true, Logger: slog.New(slog.DiscardHandler)}
		s := openMem(t, disk, o)
		l := mustCreateAs(t, s, "t", 1, 1000)
		errs, _ := s.SyncTogether([]*Log{l}, nil)
		must(t, errs[0])
		var wire []byte
		var ends []int64
		for i := range 8 {
			disk.IgnoreSync(i >= first)
			r := batchOf("t", strings.Repeat("x", 100+i))
			wire = append(wire, r.data...)
			_, err := l.AppendRun(t.Context(), placed(l.Next(), 1, i%3 == 2, r))
			must(t, err)
			must(t, l.SyncTo(t.Context(), l.Next()))
			ends = append(ends, l.Next())
		}
		disk.IgnoreSync(false)
		from := int64(1000)
		if first > 0 {
			from = ends[first-1]
		}
		aside := layout.Range{From: ends[5], To: ends[6]}
		l.setDamaged(aside, l.head())
		var written, wanted int64
		disk.OnOp(func(op vfstest.Op) {
			switch {
			case op.Kind == vfstest.OpWrite && strings.HasSuffix(op.Name, ".log"):
				written += op.Len
			default:
				t.Errorf("%s", op)
			}
		})
		must(t, l.RewriteTail(t.Context(), from))
		disk.OnOp(nil)
		for i, end := range ends {
			if end > from && end != aside.To {
				wanted += end - (append([]int64{1000}, ends...))[i]
			}
		}
		if written != wanted {
			t.Errorf("from %d on %d bytes were written, want %d", from, written, wanted)
		}
		errs, _ = s.SyncTogether([]*Log{l}, nil)
		must(t, errs[0])
		image := disk.CrashKeepNothing()
		s2 := openMem(t, image, o)
		again := s2.ByID([16]byte{1})
		for at := int64(1000); at < again.Next(); at = max(at+1, again.pastDamage(at)) {
			v, err := again.Stored(at, again.segmentEnd(again.partitions()[findPartition(again.partitions(), at)], at))
			if err != nil {
				break
			}
			b, err := readView(v)
			must(t, err)
			if !bytes.Equal(b, wire[at-1000:][:len(b)]) {
				t.Errorf("other bytes at %d", at)
			}
			at += int64(len(b)) - 1
		}
		if again.Next() != l.Next() || fmt.Sprint(*again.journal.Damaged()) != fmt.Sprint([]layout.Range{aside}) {
			t.Errorf("from %d: it ends at %d of %d, and lacks %v", from, again.Next(), l.Next(), *again.journal.Damaged())
		}
		kill(s2)
		kill(s)
	}
}

// Without room, or a descriptor, it can be tried again.
func TestRewriteTailRefused(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{PartitionSize: 300, Partitions: -1, Managed: true, Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	l := mustCreateAs(t, s, "t", 1, 0)
	for range 8 {
		mustRun(t, l, batchOf("t", strings.Repeat("x", 100)))
	}
	must(t, l.SyncTo(t.Context(), l.Next()))
	for _, errno := range []error{syscall.ENOSPC, syscall.EIO} {
		before := -1
		for n := 1; disk.Faults() > before; n++ {
			before = disk.Faults()
			disk.FailAt(n, vfstest.Fault{Err: errno, Reads: true})
			err := l.RewriteTail(t.Context(), 0)
			if disk.Faults() > before != (err != nil) || err != nil && !errors.Is(err, errno) || errors.Is(err, ErrReadOnly) != (errors.Is(err, syscall.ENOSPC)) {
				t.Errorf("operation %d, %v: %v", n, errno, err)
			}
			disk.ClearFaults()
			must(t, l.RewriteTail(t.Context(), 0))
			must(t, l.SyncTo(t.Context(), l.Next()))
		}
	}
	must(t, l.RewriteTail(t.Context(), l.Next()+1))
}

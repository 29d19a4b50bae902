package scan

import (
	"bytes"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

// FuzzScan scans any bytes: what is called a batch is one, batches and damage
// take up everything before the tail, in order, and a second scan says the same.
func FuzzScan(f *testing.F) {
	one := wireOf("t", "one", string(wireOf("t", "inner")))
	f.Add(one, int64(0))
	f.Add(append(bytes.Clone(one), one[:20]...), int64(len(one)))
	f.Add(append(append(bytes.Clone(one), "damage"...), one...), int64(10))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, synced int64) {
		s := &Scanner{File: bytes.NewReader(b), Size: int64(len(b)), Topic: "t", Synced: min(max(synced, 0), int64(len(b)))}
		end, damaged := int64(0), 0
		found, err := s.Scan(0, func(pos int64, h *batch.Header, n int64, gap bool) error {
			if gap != (pos > end) || pos < end {
				t.Fatalf("batch at %d after %d, gap %v", pos, end, gap)
			}
			if gap {
				damaged++
			}
			h2, n2, err := batch.Parse(b[pos:])
			if err != nil || n2 != n || string(h2.Topic) != "t" || batch.Check(&h2, b[pos+n-h.Size:pos+n]) != nil {
				t.Fatalf("no batch at %d (%v)", pos, err)
			}
			end = pos + n
			return nil
		})
		if err != nil || found.Valid != end || found.Tail != end || len(found.Damaged) != damaged {
			t.Fatalf("found %+v (%v), batches end at %d with %d gaps", found, err, end, damaged)
		}
	})
}

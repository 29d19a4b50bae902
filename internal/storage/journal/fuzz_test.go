package journal

import (
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
)

// FuzzJournal decodes any bytes: the state that comes of them, encoded, means
// the same.
func FuzzJournal(f *testing.F) {
	s := State{ID: ID{1}, Cut: -1, Synced: 7, Ends: map[int64]PartitionEnd{0: {End: 7}}, Damaged: []layout.Range{{From: 2, To: 3}}}
	whole := s.Encode()
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(Append(whole, Cut, 3))
	f.Add(Append(whole, Healed, 2, 3))
	f.Add(Append(Append(whole, Damaged, 4, 9), Healed, 5, 6))
	f.Add(AppendRecord(whole, 200, []byte("unknown")))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, size, err := Decode(b)
		if size < 0 || size > int64(len(b)) {
			t.Fatalf("size %d of %d", size, len(b))
		}
		if err != nil {
			return
		}
		again, _, err := Decode(s.Encode())
		if err != nil {
			t.Fatalf("encoded anew: %v", err)
		}
		if a, b := fmt.Sprint(s), fmt.Sprint(again); a != b {
			t.Fatalf("state %s, encoded anew %s", a, b)
		}
	})
}

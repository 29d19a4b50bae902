package batch_test

import (
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

// A batch that is finished again has the checksum of what it holds then.
func TestFinishAgain(t *testing.T) {
	var b batch.Builder
	check := func(raw []byte) {
		t.Helper()
		h, n, err := batch.Parse(raw)
		if err != nil || n != int64(len(raw)) {
			t.Fatal(n, err)
		}
		if data := raw[n-h.Size:]; batch.Checksum(data) != h.CRC {
			t.Errorf("the checksum of %q is wrong", data)
		}
	}
	b.Add([]byte("first"))
	check(b.Finish("t"))
	check(b.FinishNumbered("other", "p", 7))
	b.Add([]byte("second"))
	check(b.Finish("t"))
	b.Reset()
	b.Add([]byte("third"))
	raw := b.Finish("t")
	check(raw)
	h, n, _ := batch.Parse(raw)
	var loaded batch.Builder
	loaded.Add([]byte("what was there"))
	loaded.Finish("t")
	loaded.Load(&h, raw[n-h.Size:])
	check(loaded.Finish("t"))
}

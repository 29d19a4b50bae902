package s2_test

import (
	"bytes"
	"testing"

	"github.com/logd-dev/logd"
	_ "github.com/logd-dev/logd/codec/s2"
	"github.com/logd-dev/logd/logdtest"
)

// A batch that is read from one topic goes into another one as it is, packed or not,
// with a number of its own.
func TestBatchSetRaw(t *testing.T) {
	c := logdtest.Start(t).Client(t)
	ctx := t.Context()
	w, err := logd.NewWriter(ctx, c, "from", logd.WriterConfig{Codec: "s2"})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(bytes.Repeat([]byte("packed "), 100))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppendMessage(ctx, "from", []byte("plain")); err != nil {
		t.Fatal(err)
	}
	from, err := c.Read(ctx, "from", 0, logd.ReadOptions{})
	if err != nil || len(from.Batches) != 2 {
		t.Fatalf("%+v, %v", from, err)
	}
	var b logd.Batch
	for i := range from.Batches {
		if err := b.SetRaw(from.Batches[i].Raw()); err != nil {
			t.Fatal(err)
		}
		if i == 0 && b.Fits("into", 1, 1<<20) {
			t.Error("a message fits into a packed batch")
		}
		if i == 1 {
			b.Add([]byte("more"))
		}
		if err := b.SetNumber("copy", int64(i+1)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Append(ctx, "into", &b); err != nil {
			t.Fatal(err)
		}
	}
	into, err := c.Read(ctx, "into", 0, logd.ReadOptions{})
	if err != nil || len(into.Batches) != 2 {
		t.Fatalf("%+v, %v", into, err)
	}
	tail := func(b *logd.StoredBatch, data int) []byte { return b.Raw()[len(b.Raw())-data:] }
	packed := len(from.Batches[0].Raw()) - bytes.IndexByte(from.Batches[0].Raw(), '\n') - 1
	if packed >= 700 || !bytes.Equal(tail(&from.Batches[0], packed), tail(&into.Batches[0], packed)) {
		t.Errorf("the packed data is not what it was: %q", into.Batches[0].Raw())
	}
	if pid, seq := into.Batches[0].Number(); pid != "copy" || seq != 1 {
		t.Errorf("number %d of %q", seq, pid)
	}
	if into.Batches[1].Messages != 2 {
		t.Errorf("%d messages, want plain and more", into.Batches[1].Messages)
	}
}

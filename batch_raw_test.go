package logd_test

import (
	"bytes"
	"errors"
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

// What is no batch is refused, and what was there stays.
func TestBatchSetRawRefused(t *testing.T) {
	var b, good logd.Batch
	b.Add([]byte("one"))
	want := string(b.Raw("t"))
	good.Add([]byte("other"))
	raw := good.Raw("t")
	for name, bad := range map[string][]byte{
		"nothing": nil, "short": raw[:len(raw)-1], "long": append(bytes.Clone(raw), 'x'),
		"damaged": bytes.Replace(raw, []byte("other"), []byte("Other"), 1), "rubbish": []byte("MSG 1\r\nx\r\n"),
	} {
		if err := b.SetRaw(bad); !errors.Is(err, logd.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := string(b.Raw("t")); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	packed := []byte("BATCH 3 t 891568578 1 codec=s2\r\nabc")
	if err := b.SetRaw(packed); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Add spoils a packed batch")
		}
	}()
	b.Add(nil)
}

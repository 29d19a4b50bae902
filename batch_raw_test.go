package logd_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/logd-dev/logd"
)

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

package batch_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

// Each beginning of a batch fits, and what can't be one is noticed before more
// bytes come than it has.
func TestFits(t *testing.T) {
	var b batch.Builder
	for _, body := range []string{"", "a\r\nMSG 1\r\n", strings.Repeat("x", 100), "z"} {
		b.Add([]byte(body))
	}
	whole := b.FinishNumbered("t.o-p_ic", "a.b", 12)
	h, n, err := batch.Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	line, data := whole[:n-h.Size], whole[n-h.Size:]
	for i := range len(line) - 1 {
		if !batch.HeaderFits(line[:i]) {
			t.Errorf("%q does not fit", line[:i])
		}
	}
	for _, bad := range []string{"X", "BATCX", "batch ", "BATCH \x00", "BATCH 1\rx", "BATCH " + strings.Repeat("1", batch.MaxHeaderLen)} {
		if batch.HeaderFits([]byte(bad)) {
			t.Errorf("%q fits", bad)
		}
	}
	fits := func(h *batch.Header, data []byte, step int) bool {
		var f batch.Framing
		for i := 0; i < len(data); i += step {
			if !f.Fits(h, data[:i]) {
				return false
			}
		}
		return f.Fits(h, data)
	}
	for _, step := range []int{1, 7, 50, 1000} {
		if !fits(&h, data, step) {
			t.Errorf("the data do not fit, %d by %d", step, step)
		}
		next := append(bytes.Clone(data), whole...)
		for _, size := range []int64{h.Size - 1, h.Size + 1, h.Size + 10, h.Size + int64(len(whole)), h.Size * 10, 9e18} {
			wrong := h
			wrong.Size = size
			if fits(&wrong, data, step) {
				t.Errorf("a size of %d fits where it is %d, with nothing behind", size, h.Size)
			}
			if fits(&wrong, next, step) {
				t.Errorf("a size of %d fits where it is %d", size, h.Size)
			}
		}
		for _, messages := range []int64{1, 3, 5, 9e18} {
			wrong := h
			wrong.Messages = messages
			if fits(&wrong, data, step) {
				t.Errorf("%d messages fit where there are 4", messages)
			}
		}
	}
	for _, bad := range []string{"N", "MSGx", "MSG x", "MSG \r", "MSG 01", "MSG 1x", "MSG 1\rx", "MSG 1\r\nxyz", "MSG 99999999999999999999"} {
		h := batch.Header{Size: 1000, Messages: 2}
		if fits(&h, []byte(bad), 1) {
			t.Errorf("%q fits", bad)
		}
	}
	for i := range data {
		if h := (batch.Header{Size: h.Size, Messages: h.Messages}); !batch.Framed(&h, data) || batch.Framed(&h, data[:i]) {
			t.Fatal(fmt.Sprint("framed up to ", i))
		}
	}
}

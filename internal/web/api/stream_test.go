package api

import (
	"bytes"
	"io"
	"net/http/httputil"
	"testing"
)

// TestFrame: frames, one behind another, are an answer in chunks. One with nothing in it does
// not end it.
func TestFrame(t *testing.T) {
	chunked, whole := &stream{chunked: true}, &stream{}
	var sent, plain, want []byte
	for _, n := range []int{1, 0, 9, 15, 16, 255, 256, 65535, 1 << 20} {
		text := bytes.Repeat([]byte{byte('a' + n%26)}, n)
		frame := sealed(append(newFrame(n), text...))
		want = append(want, text...)
		sent = append(sent, chunked.body(frame)...)
		plain = append(plain, whole.body(frame)...)
	}
	sent, plain = append(sent, chunked.end()...), append(plain, whole.end()...)
	got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(sent)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes (%v), want %d", len(got), err, len(want))
	}
	if !bytes.Equal(plain, want) {
		t.Errorf("without chunks %d bytes, want %d", len(plain), len(want))
	}
}

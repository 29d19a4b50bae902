package batch_test

import (
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

// TestCompressed: of compressed data the checksum is all that can be looked at.
func TestCompressed(t *testing.T) {
	data := []byte("no message")
	h := batch.Header{Size: int64(len(data)), Topic: []byte("t"), CRC: batch.Checksum(data), Messages: 3, Codec: "zstd"}
	if err := batch.Check(&h, data); err != nil {
		t.Errorf("Check: %v", err)
	}
	if batch.Framed(&h, data) {
		t.Error("what is compressed is taken for framed")
	}
	var f batch.Framing
	if !f.Fits(&h, data[:4]) {
		t.Error("what is compressed does not fit")
	}
	raw := append(batch.AppendHeader(nil, &h), data...)
	again := batch.Renumber(raw, "p", 7)
	if got, n, err := batch.Parse(again); err != nil || got.Codec != "zstd" || got.Seq != 7 || n != int64(len(again)) {
		t.Errorf("renumbered it is %q, %v", again, err)
	}
	h.CRC++
	if err := batch.Check(&h, data); err != batch.ErrChecksum {
		t.Errorf("Check of a wrong checksum: %v", err)
	}
	h.Topic, h.Codec, h.PID, h.Seq = []byte(strings.Repeat("t", 255)), strings.Repeat("z", 16), []byte(strings.Repeat("p", 32)), 1<<63-1
	h.Size, h.CRC, h.Messages = 1<<63-1, 1<<32-1, 1<<63-1
	if n := len(batch.AppendHeader(nil, &h)); n != batch.MaxHeaderLen || h.Len() != n {
		t.Errorf("the longest envelope has %d bytes, Len %d, MaxHeaderLen %d", n, h.Len(), batch.MaxHeaderLen)
	}
}

func TestCodecs(t *testing.T) {
	for _, tc := range []struct {
		list string
		want batch.Codecs
		ok   bool
	}{
		{"zstd", batch.Zstd, true}, {"zstd,s2", batch.S2 | batch.Zstd, true}, {"lz4", 0, true}, {"a,b,c,d,e,f,g,s2", batch.S2, true},
		{"", 0, false}, {",", 0, false}, {"zstd,", 0, false}, {"zstd,,s2", 0, false}, {"s2,s2", 0, false}, {"x,x", 0, false},
		{"a,b,c,d,e,f,g,h,i", 0, false}, {"S2", 0, false}, {"s2, zstd", 0, false}, {strings.Repeat("a", 17), 0, false},
	} {
		if got, ok := batch.ParseCodecs([]byte(tc.list)); got != tc.want || ok != tc.ok {
			t.Errorf("%q: %b, %v", tc.list, got, ok)
		}
	}
	if s := batch.KnownCodecs.String(); s != "s2,zstd" {
		t.Errorf("all are %q", s)
	}
	for name, want := range map[string]batch.Codecs{"": 0, "s2": batch.S2, "zstd": batch.Zstd, "lz4": batch.OtherCodec} {
		if got := batch.CodecOf(name); got != want {
			t.Errorf("CodecOf(%q) is %b", name, got)
		}
	}
}

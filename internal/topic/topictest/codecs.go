package topictest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// packedBatch returns a batch that is compressed, as far as a store looks: it looks at
// no data.
func packedBatch(name, codec string, messages int64, data string) ([]byte, batch.Extent) {
	h := batch.Header{Size: int64(len(data)), Topic: []byte(name), CRC: batch.Checksum([]byte(data)), Messages: messages, Codec: codec}
	return append(batch.AppendHeader(nil, &h), data...), h.Extent()
}

// testCodecs: compressed batches are stored and read as they came, and each reader gets
// what comes before the first one that it does not know.
func testCodecs(t *testing.T, s store) {
	l := s.create("t")
	plain, _ := l.append([]string{"plain"})
	var offsets []int64
	all := [][]byte{plain}
	next := int64(len(plain))
	for _, b := range []struct {
		codec, data string
		messages    int64
	}{{"s2", "one", 3}, {"s2", "\r\nMSG 3\r\n", 1000}, {"zstd", "three", 1}, {"other", "four", 2}} {
		wire, x := packedBatch("t", b.codec, b.messages, b.data)
		at, err := l.Append(context.Background(), wire, []batch.Extent{x})
		if err == nil {
			err = l.Commit(context.Background(), at)
		}
		if err != nil || at.Offset != next {
			t.Fatalf("a batch with codec %s is appended at %d, want %d: %v", b.codec, at.Offset, next, err)
		}
		offsets, all, next = append(offsets, next), append(all, wire), at.End
	}
	last, _ := l.append([]string{"plain again"})
	all = append(all, last)
	l.wantRead(0, 1e6, 0, bytes.Join(all, nil), 6)
	l.wantRead(offsets[0], 4, 0, bytes.Join(all[1:3], nil), 2) // messages are those that are announced
	l.wantRead(offsets[1], 1001, 0, bytes.Join(all[2:4], nil), 2)
	in := l.info()
	if in.Messages != 1+3+1000+1+2+1 || in.Batches != 6 || in.Bytes != next+int64(len(last)) || in.Codecs != batch.S2|batch.Zstd|batch.OtherCodec {
		t.Errorf("Info = %+v", in)
	}
	if plain := s.create("plain"); plain.info().Codecs != 0 {
		t.Error("a topic without compressed batches has codecs")
	}
	for _, tc := range []struct {
		known   batch.Codecs
		offset  int64
		batches int // 0: ErrCodec
	}{
		{0, 0, 1}, {0, offsets[0], 0}, {0, offsets[3], 0}, {0, next, 1},
		{batch.S2, 0, 3}, {batch.S2, offsets[1], 1}, {batch.S2, offsets[2], 0},
		{batch.Zstd, 0, 1}, {batch.Zstd, offsets[2], 1},
		{batch.S2 | batch.Zstd, 0, 4}, {batch.S2 | batch.Zstd, offsets[3], 0}, {batch.AllCodecs, 0, 6},
	} {
		v, err := l.Read(tc.offset, 1e6, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = topic.Accept(v, tc.known)
		switch {
		case tc.batches == 0:
			if !errors.Is(err, topic.ErrCodec) {
				t.Errorf("a read at %d for codecs %v: %v, want ErrCodec", tc.offset, tc.known, err)
			}
		case err != nil || v.Batches() != int64(tc.batches) || v.Offset() != tc.offset:
			t.Errorf("a read at %d for codecs %v: %d batches, want %d, %v", tc.offset, tc.known, v.Batches(), tc.batches, err)
		default:
			var got []byte
			for i := range v.Sections() {
				r, pos, n := v.Section(i)
				p := make([]byte, n)
				if _, err := r.ReadAt(p, pos); n > 0 && err != nil {
					t.Errorf("section %d: %v", i, err)
				}
				got = append(got, p...)
			}
			from := bytes.Join(all, nil)[tc.offset:]
			if int64(len(got)) != v.Len() || !bytes.HasPrefix(from, got) {
				t.Errorf("a read at %d for codecs %v: %q", tc.offset, tc.known, got)
			}
		}
		v.Close()
	}
}

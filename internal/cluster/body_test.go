package cluster

import (
	"errors"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestBodies: the bytes that come with a message are those that its entries name, or it
// is dropped.
func TestBodies(t *testing.T) {
	one, two := testkit.Batch("t", "a", "b"), testkit.Batch("u", "c")
	round := func(runs ...string) *pb.Entry {
		d := &entry.Round{}
		for i, r := range runs {
			d.Runs = append(d.Runs, entry.Run{
				Topic: uint32(i), Bytes: uint32(len(r)), Batches: 1, Messages: 1, CRC: copies.Checksum([]byte(r)),
			})
		}
		return &pb.Entry{Index: new(uint64(7)), Term: new(uint64(1)), Data: entry.Append(nil, d)}
	}
	empty := &pb.Entry{Index: new(uint64(6)), Term: new(uint64(1))}
	flipped := one[:len(one)-3] + "x" + one[len(one)-2:]
	tests := map[string]struct {
		entries []*pb.Entry
		bytes   string
		err     error
	}{
		"nothing":          {},
		"an empty entry":   {[]*pb.Entry{empty}, "", nil},
		"two runs":         {[]*pb.Entry{empty, round(one, two)}, one + two, nil},
		"two entries":      {[]*pb.Entry{round(one), round(two)}, one + two, nil},
		"other bytes":      {[]*pb.Entry{round(one)}, flipped, copies.ErrBytes},
		"too few":          {[]*pb.Entry{round(one, two)}, one + two[:5], copies.ErrBytes},
		"too many":         {[]*pb.Entry{round(one)}, one + "x", copies.ErrBytes},
		"no batch":         {[]*pb.Entry{round("hello")}, "hello", copies.ErrBytes},
		"half a batch":     {[]*pb.Entry{round(one + two[:9])}, one + two[:9], copies.ErrBytes},
		"a newer version":  {[]*pb.Entry{{Index: new(uint64(1)), Data: []byte{99}}}, "", entry.ErrNewer},
		"an invalid entry": {[]*pb.Entry{{Index: new(uint64(1)), Data: []byte{1, 2}}}, "", entry.ErrInvalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := &pb.Message{Type: pb.MsgApp.Enum(), Entries: test.entries}
			bodies, err := splitBodies(m, []byte(test.bytes))
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			got := ""
			for _, b := range bodies {
				if runs, ok := b.([]copies.Body); ok {
					for _, r := range runs {
						got += string(r.Data)
						if len(r.Extents) != 1 {
							t.Errorf("%d batches in a run", len(r.Extents))
						}
					}
				}
			}
			if err == nil && got != test.bytes {
				t.Errorf("bodies are %q, want %q", got, test.bytes)
			}
		})
	}
}

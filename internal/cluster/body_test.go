package cluster

import (
	"errors"
	"hash/crc32"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

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
				Topic: uint32(i), Bytes: uint32(len(r)), Batches: 1, Messages: 1, CRC: crc32.Checksum([]byte(r), castagnoli),
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
		"other bytes":      {[]*pb.Entry{round(one)}, flipped, errBytes},
		"too few":          {[]*pb.Entry{round(one, two)}, one + two[:5], errBytes},
		"too many":         {[]*pb.Entry{round(one)}, one + "x", errBytes},
		"no batch":         {[]*pb.Entry{round("hello")}, "hello", errBytes},
		"half a batch":     {[]*pb.Entry{round(one + two[:9])}, one + two[:9], errBytes},
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
				if runs, ok := b.([]runBody); ok {
					for _, r := range runs {
						got += string(r.data)
						if len(r.extents) != 1 {
							t.Errorf("%d batches in a run", len(r.extents))
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

// TestCheck: batches that come without a round, and so without its checksum, are of the
// topic, with the data that their envelopes say.
func TestCheck(t *testing.T) {
	good := testkit.Batch("t", "a", "b") + testkit.Batch("t", "some more")
	body, err := parseRun([]byte(good))
	if err == nil {
		err = body.check("t")
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := []byte(good)
		bad[i] ^= 4
		body, err := parseRun(bad)
		if err == nil {
			err = body.check("t")
		}
		if !errors.Is(err, errBytes) {
			t.Errorf("byte %d is flipped: %v", i, err)
		}
	}
}

// TestFetchOrder: the group that lacks least goes first, and those that wait for the next
// tick do not.
func TestFetchOrder(t *testing.T) {
	job := func(ends ...int64) *takeJob {
		j := &takeJob{}
		j.task.Table = &entry.Table{}
		for _, end := range ends {
			j.task.Table.Topics = append(j.task.Table.Topics, entry.Topic{Oldest: 10, End: end})
		}
		return j
	}
	large, small, waits := job(1000, 10), job(100, 100), job(11)
	waits.waits = true
	f := fetcher{jobs: []*takeJob{nil, large, waits, small}}
	if f.choose(); f.job != small {
		t.Errorf("%+v goes first", f.job)
	}
	small.next = 2
	f.jobs[3], waits.waits = nil, false
	if f.choose(); f.job != waits {
		t.Errorf("then %+v", f.job)
	}
}

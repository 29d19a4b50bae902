package audit

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
	"github.com/logd-dev/logd/logdtest"
)

// scene is a server with three batches of three messages, and a ledger that knows of them.
type scene struct {
	t      *testing.T
	server *logdtest.Server
	client *logd.Client
	disk   *vfstest.FS
	ledger *ledger.Ledger
	seq    int64
}

func begin(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, server: logdtest.Start(t), disk: vfstest.New()}
	s.client = s.server.Client(t)
	var err error
	if s.ledger, _, err = ledger.Open(s.disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ledger.Close() })
	for range 3 {
		sent, b := s.sent()
		offset, err := s.client.Append(t.Context(), "t", b)
		if err != nil {
			t.Fatal(err)
		}
		s.stored(sent, offset)
	}
	return s
}

// sent notes a batch that is not sent.
func (s *scene) sent() (*ledger.Sent, *logd.Batch) {
	s.t.Helper()
	s.seq++
	b := new(logd.Batch)
	for i := range 3 {
		b.Add(fmt.Appendf(nil, "%d.%d", s.seq, i))
	}
	key := ledger.Key{Topic: "t", PID: "p", Seq: s.seq}
	if err := b.SetNumber(key.PID, key.Seq); err != nil {
		s.t.Fatal(err)
	}
	raw := b.Raw("t")
	stored, err := logd.ParseBatch(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	r := &ledger.Sent{Key: key, Numbered: true, Size: int64(len(raw)), CRC: stored.Checksum(), Messages: 3, Time: time.Now().UnixNano(), Runs: []ledger.Run{{Input: "in", Lines: 3, Bytes: 9}}}
	if err := s.ledger.Sent(r); err != nil {
		s.t.Fatal(err)
	}
	return r, b
}

func (s *scene) stored(r *ledger.Sent, offset int64) {
	s.t.Helper()
	if err := s.ledger.Stored(&ledger.Stored{Key: r.Key, Offset: offset, Time: r.Time}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) run() *Line {
	s.t.Helper()
	r, err := Run(s.t.Context(), Options{FS: s.disk, Client: s.client})
	if err != nil || len(r.Lines) != 1 {
		s.t.Fatalf("%+v, %v", r, err)
	}
	return &r.Lines[0]
}

// TestRun has one thing wrong at a time.
func TestRun(t *testing.T) {
	for _, tc := range []struct {
		name  string
		wrong func(s *scene)
		want  Line
		clean bool
	}{
		{"nothing", func(*scene) {}, Line{Taken: 9, Stored: 9, Verified: 9}, true},
		{"waiting", func(s *scene) { s.sent() }, Line{Taken: 12, Stored: 9, Waiting: 3, Verified: 9}, true},
		{"missing", func(s *scene) {
			r, _ := s.sent()
			s.stored(r, 100000)
		}, Line{Taken: 12, Stored: 12, Verified: 9, Missing: 3}, false},
		{"mismatched", func(s *scene) {
			r, b := s.sent()
			b.Reset()
			b.Add([]byte("something else"))
			offset, err := s.client.Append(s.t.Context(), "t", b)
			if err != nil {
				s.t.Fatal(err)
			}
			s.stored(r, offset)
		}, Line{Taken: 12, Stored: 12, Verified: 9, Mismatched: 3}, false},
		{"twice", func(s *scene) {
			r, b := s.sent()
			offset, _ := s.client.Append(s.t.Context(), "t", b)
			s.stored(r, offset)
			b.SetNumber("", 0)
			s.client.Append(s.t.Context(), "t", b)
			last, other := s.sent() // what is read goes to here
			other.SetNumber("", 0)
			offset, _ = s.client.Append(s.t.Context(), "t", other)
			s.stored(last, offset)
		}, Line{Taken: 15, Stored: 15, Verified: 15, Duplicates: 3}, true},
		{"hole", func(s *scene) {
			s.ledger.Hole(&ledger.Hole{Hole: feed.Hole{Kind: feed.Dropped, Topic: "t", Messages: 2, Bytes: 5}, Input: "in"})
		}, Line{Taken: 11, Stored: 9, Verified: 9, Holes: make([]Hole, 1)}, false},
		{"never taken", func(s *scene) {
			s.ledger.Hole(&ledger.Hole{Hole: feed.Hole{Kind: feed.Gone, Topic: "t", Messages: -1, Bytes: 5}, Input: "in"})
		}, Line{Taken: 9, Stored: 9, Verified: 9, Holes: make([]Hole, 1)}, false},
		{"unknown, not there", func(s *scene) {
			r, _ := s.sent()
			s.ledger.Hole(&ledger.Hole{Hole: feed.Hole{Kind: feed.Unknown, Topic: "t", Messages: 3}, Input: "in", Key: &r.Key})
		}, Line{Taken: 12, Stored: 9, Verified: 9, Holes: make([]Hole, 1)}, false},
		{"unknown, there by number", func(s *scene) {
			r, b := s.sent()
			s.client.Append(s.t.Context(), "t", b)
			s.ledger.Hole(&ledger.Hole{Hole: feed.Hole{Kind: feed.Unknown, Topic: "t", Messages: 3}, Input: "in", Key: &r.Key})
		}, Line{Taken: 12, Stored: 12, Verified: 12, Holes: []Hole{}}, true},
		{"unknown, there by checksum", func(s *scene) {
			r, b := s.sent()
			b.SetNumber("", 0)
			s.client.Append(s.t.Context(), "t", b)
			s.ledger.Hole(&ledger.Hole{Hole: feed.Hole{Kind: feed.Unknown, Topic: "t", Messages: 3}, Input: "in", Key: &r.Key})
		}, Line{Taken: 12, Stored: 12, Verified: 12, Holes: []Hole{}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := begin(t)
			tc.wrong(s)
			before := dump(t, s.disk)
			got := s.run()
			holes := len(got.Holes)
			wantHoles := len(tc.want.Holes)
			got.Holes, tc.want.Holes = nil, nil
			tc.want.Input, tc.want.Topic = "in", "t"
			if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", tc.want) || holes != wantHoles {
				t.Errorf("%+v, %d holes\nwant %+v, %d", *got, holes, tc.want, wantHoles)
			}
			r, err := Run(t.Context(), Options{FS: s.disk, Client: s.client})
			if err != nil || r.Clean() != tc.clean {
				t.Errorf("Clean: %v, %v", r.Clean(), err)
			}
			if !bytes.Equal(before, dump(t, s.disk)) {
				t.Error("the state folder has changed")
			}
		})
	}
}

func dump(t *testing.T, disk *vfstest.FS) (all []byte) {
	t.Helper()
	for _, name := range disk.Names() {
		data, _ := disk.ReadFile(name)
		all = append(append(all, name...), data...)
	}
	return all
}

// TestAway says what the ledger says when the server can't be asked.
func TestAway(t *testing.T) {
	s := begin(t)
	s.server.Stop()
	cfg := s.server.ClientConfig()
	cfg.ReconnectAttempts = 1
	c, err := logd.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := Run(t.Context(), Options{FS: s.disk, Client: c})
	if !logd.IsRetryable(err) || len(r.Lines) != 1 || r.Lines[0].Stored != 9 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTorn says that a record which is being written is no damage, and that damage is.
func TestTorn(t *testing.T) {
	s := begin(t)
	name := ledger.Dir + "/00000000000000000001.seg"
	end := 0
	if err := s.disk.Corrupt(name, 0, func(b []byte) {
		end = len(bytes.TrimRight(b, "\x00"))
		copy(b[end+1:], "half a record")
	}); err != nil {
		t.Fatal(err)
	}
	run := func() *Report {
		r, err := Run(t.Context(), Options{FS: s.disk, Client: s.client})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(); !r.Clean() {
		t.Errorf("%+v", r)
	}
	if err := s.disk.Corrupt(name, int64(end/2), func(b []byte) { b[0] ^= 1 }); err != nil {
		t.Fatal(err)
	}
	if r := run(); r.Clean() || len(r.Damage) != 1 {
		t.Errorf("with damage: %+v", r)
	}
}

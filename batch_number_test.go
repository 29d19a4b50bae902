package logd_test

import (
	"errors"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// A numbered batch is stored once, however often it is sent, and the error says which
// number is next.
func TestBatchNumber(t *testing.T) {
	s := logdtest.Start(t)
	c := s.Client(t)
	ctx := t.Context()
	limits, err := c.Limits(ctx, "t")
	if err != nil || limits.Producers <= 0 || limits.MaxBatchSize != logd.DefaultMaxBatchSize {
		t.Fatalf("Limits: %+v, %v", limits, err)
	}
	var b logd.Batch
	send := func(body, pid string, seq int64) (int64, error) {
		b.Reset()
		b.Add([]byte(body))
		if err := b.SetNumber(pid, seq); err != nil {
			t.Fatal(err)
		}
		return c.Append(ctx, "t", &b)
	}
	first, err := send("one", "p", 1)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := send("one", "p", 1); err != nil || again != first {
		t.Fatalf("the same number again: %d, %v, want %d", again, err, first)
	}
	if _, err := send("two", "p", 1); !errors.Is(err, logd.ErrSequenceConflict) {
		t.Fatalf("another batch of the same number: %v", err)
	}
	var order *logd.OutOfOrderError
	if _, err := send("four", "p", 4); !errors.As(err, &order) || order.Next != 2 {
		t.Fatalf("a number too early: %v", err)
	}
	if _, err := send("plain", "", 0); err != nil {
		t.Fatal(err)
	}
	r, err := c.Read(ctx, "t", 0, logd.ReadOptions{})
	if err != nil || len(r.Batches) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	if pid, seq := r.Batches[0].Number(); pid != "p" || seq != 1 || r.Batches[0].Checksum() == 0 {
		t.Errorf("the first batch is number %d of %q", seq, pid)
	}
	if pid, seq := r.Batches[1].Number(); pid != "" || seq != 0 {
		t.Errorf("the second batch is number %d of %q", seq, pid)
	}
}

// What is no number is refused, and what fits counts it.
func TestBatchNumberRefused(t *testing.T) {
	var b logd.Batch
	b.Add([]byte("x"))
	plain := b.Len("t")
	for _, tc := range []struct {
		pid string
		seq int64
	}{{"", 1}, {"a b", 1}, {"p", -1}, {"p234567890123456789012345678901234567890", 1}} {
		if err := b.SetNumber(tc.pid, tc.seq); !errors.Is(err, logd.ErrInvalidRequest) {
			t.Errorf("SetNumber(%q, %d): %v", tc.pid, tc.seq, err)
		}
	}
	if b.Len("t") != plain {
		t.Error("a refused number has changed the batch")
	}
	if err := b.SetNumber("p", 12); err != nil {
		t.Fatal(err)
	}
	numbered := b.Len("t")
	if numbered != plain+int64(len(" pid=p seq=12")) {
		t.Errorf("%d bytes, %d without a number", numbered, plain)
	}
	for max := numbered; max < numbered+40; max++ {
		if !b.Fits("t", 5, max) {
			continue
		}
		b.Add([]byte("12345"))
		if n := b.Len("t"); n > max {
			t.Errorf("Fits of %d bytes: %d", max, n)
		}
		break
	}
	b.Reset()
	b.Add([]byte("x"))
	if b.Len("t") != plain {
		t.Error("the number is there after Reset")
	}
}

// ParseBatch takes what Raw returns and nothing else.
func TestParseBatch(t *testing.T) {
	var b logd.Batch
	b.Add([]byte("one"))
	b.Add(nil)
	if err := b.SetNumber("p", 3); err != nil {
		t.Fatal(err)
	}
	raw := b.Raw("t")
	got, err := logd.ParseBatch(raw)
	if err != nil || got.Messages != 2 || got.Topic() != "t" {
		t.Fatalf("%+v, %v", got, err)
	}
	if pid, seq := got.Number(); pid != "p" || seq != 3 {
		t.Errorf("number %d of %q", seq, pid)
	}
	var bodies []string
	for m := range got.All() {
		bodies = append(bodies, string(m.Body))
	}
	if len(bodies) != 2 || bodies[0] != "one" || bodies[1] != "" {
		t.Errorf("%q", bodies)
	}
	for n := range len(raw) {
		if _, err := logd.ParseBatch(raw[:n]); !errors.Is(err, logd.ErrCorrupt) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	raw[len(raw)-8] ^= 1
	if _, err := logd.ParseBatch(raw); !errors.Is(err, logd.ErrCorrupt) {
		t.Fatalf("damaged: %v", err)
	}
}

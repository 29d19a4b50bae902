package backlog

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files that are missing")

func TestGoldenBacklog(t *testing.T) {
	version := strings.TrimSpace(backlogVersion)
	path := testkit.Golden(t, "backlog"+version, *update, func(name string) {
		b := openDisk(t, name)
		defer b.Close()
		for _, m := range []string{"first", "second", "third"} {
			keep(t, b, m)
		}
		deliver(t, b, 1)
	})
	b := openDisk(t, path)
	defer b.Close()
	if got, want := kept(t, b), "second third"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if torn, _ := b.Torn(); torn != "" || b.Topic() != "t" {
		t.Errorf("torn %q, topic %q", torn, b.Topic())
	}
}

// Batches keep the numbers that they have in their envelopes.
func TestGoldenNumbered(t *testing.T) {
	number := func(n int64) string {
		var b batch.Builder
		b.Add([]byte("numbered"))
		return string(b.FinishNumbered("t", "0123456789abcdef0123456789abcdef", n))
	}
	path := testkit.Golden(t, "backlog"+strings.TrimSpace(backlogVersion)+"-numbered", *update, func(name string) {
		b := openDisk(t, name)
		defer b.Close()
		for n := int64(7); n < 10; n++ {
			if err := b.Put(&Entry{Raw: []byte(number(n)), Messages: 1, Reason: "connection lost", Unknown: n < 9, Time: time.UnixMilli(1e12)}); err != nil {
				t.Fatal(err)
			}
		}
		deliver(t, b, 1)
	})
	b := openDisk(t, path)
	defer b.Close()
	at, raw := int64(0), []byte(nil)
	for n := int64(8); n < 10; n++ {
		var err error
		if at, raw, err = b.Next(at, raw); err != nil || string(raw) != number(n) {
			t.Errorf("batch %d is %q, %v", n, raw, err)
		}
	}
	if b.Len() != 2 {
		t.Errorf("%d batches are kept", b.Len())
	}
}

package consumers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

// TestBetween: the messages between any two places are counted, but for those that nobody
// can read any more, and it is said where that is not known.
func TestBetween(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(400), logdtest.Partitions(100))
	client := server.Client(t)
	var all []logd.ID // of messages, and the end
	var batches []int64
	for i := range 12 {
		var b logd.Batch
		var deltas []int64
		for range 1 + i%3 {
			deltas = append(deltas, b.Add([]byte(strings.Repeat("x", 20+i))))
		}
		offset, err := client.Append(t.Context(), "topic", &b)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, offset)
		for _, d := range deltas {
			all = append(all, logd.ID{Offset: offset, Delta: d})
		}
	}
	info, err := client.Info(t.Context(), "topic")
	if err != nil {
		t.Fatal(err)
	}
	end := logd.ID{Offset: info.Next}
	check := func(what string, readable func(logd.ID) bool) {
		t.Helper()
		places := append(append([]logd.ID{}, all...), end, logd.ID{Offset: end.Offset + 1000})
		for i, low := range places {
			if i < len(all) && !readable(low) && low.Delta > 0 {
				continue
			}
			for _, high := range places[i:] {
				want := int64(0)
				for _, id := range all {
					if readable(id) && id.Compare(low) >= 0 && id.Compare(high) < 0 {
						want++
					}
				}
				if n, ok := between(t.Context(), client, "topic", low, high); !ok || n != want {
					t.Errorf("%s, from %s to %s: %d, %v, want %d", what, low, high, n, ok, want)
				}
			}
		}
	}
	check("whole", func(logd.ID) bool { return true })

	// Batch 7, in the middle, is damaged, and nobody has met that yet.
	parts, err := filepath.Glob(filepath.Join(server.WorkDir(), "topic", "*.log"))
	if err != nil || len(parts) < 3 {
		t.Fatalf("partitions %q, %v, want at least 3", parts, err)
	}
	const hurt = 7
	var base int64
	file := ""
	for _, name := range parts {
		var b int64
		if fmt.Sscan(strings.TrimSuffix(filepath.Base(name), ".log"), &b); b <= batches[hurt] && (file == "" || b > base) {
			base, file = b, name
		}
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("?"), batches[hurt+1]-base-3)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	sound := func(id logd.ID) bool { return id.Offset != batches[hurt] }
	check("damaged", sound)

	// What is before the second partition is removed.
	oldest, err := admin.New(client).Trim(t.Context(), "topic", batches[hurt])
	if err != nil || oldest == 0 {
		t.Fatalf("oldest %d, %v", oldest, err)
	}
	check("damaged and trimmed", func(id logd.ID) bool { return sound(id) && id.Offset >= oldest })

	// Too far apart to be counted, and a topic that is not there.
	if n, ok := between(t.Context(), client, "topic", logd.ID{}, logd.ID{Offset: countedBytes + 1}); ok {
		t.Errorf("%d messages of more than are counted", n)
	}
	if n, ok := between(t.Context(), client, "none", logd.ID{}, logd.ID{Offset: 9}); ok {
		t.Errorf("%d messages of no topic", n)
	}
}

package logd_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

// lastOf returns what a Scanner that begins at Last(n) delivers.
func lastOf(t *testing.T, client *logd.Client, topic string, n int64) []string {
	t.Helper()
	s := newScanner(t, client, topic, logd.ScannerConfig{Start: logd.Last(n), OnGone: func(*logd.GoneError) error { return nil }})
	defer s.Close()
	got := rest(s)
	if s.Err() != nil {
		t.Fatalf("Last(%d): %v", n, s.Err())
	}
	return got
}

// checkLast checks Last(n) for each n.
func checkLast(t *testing.T, client *logd.Client, topic string, want []string) {
	t.Helper()
	for n := range len(want) + 2 {
		if got := lastOf(t, client, topic, int64(n)); !slices.Equal(got, want[max(len(want)-n, 0):]) {
			t.Errorf("Last(%d) of %d: %q", n, len(want), got)
		}
	}
}

// Last counts back over partitions, behind those that were removed, and past
// damage, also if nobody has met the damage yet.
func TestLastOnServer(t *testing.T) {
	d := newDamagedLog(t)
	ctx := t.Context()
	all := slices.Concat(d.bodies...)
	checkLast(t, d.client, "topic-none", all)

	// The reader that counts is the first to meet the damage.
	d.copy(t, "topic-hurt")
	const hurt = 6
	d.change(t, "topic-hurt", d.offsets[hurt]+30, func(f *os.File, pos int64) error {
		_, err := f.WriteAt([]byte("?"), pos)
		return err
	})
	readable := slices.Concat(slices.Concat(d.bodies[:hurt]...), slices.Concat(d.bodies[hurt+1:]...))
	if got := lastOf(t, d.client, "topic-hurt", int64(len(d.bodies[7])+1)); !slices.Equal(got, readable[len(readable)-len(d.bodies[7])-1:]) {
		t.Errorf("the damage is new: %q", got)
	}
	checkLast(t, d.client, "topic-hurt", readable)

	if _, err := admin.New(d.client).Trim(ctx, "topic-none", d.second); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for i, bodies := range d.bodies {
		if d.offsets[i] >= d.second {
			kept = append(kept, bodies...)
		}
	}
	checkLast(t, d.client, "topic-none", kept)
}

func TestLastOfNothing(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(400), logdtest.Partitions(10))
	client := server.Client(t)
	ctx := t.Context()
	if _, err := logd.NewScanner(ctx, client, "nothing", logd.ScannerConfig{Start: logd.Last(3)}); !errors.Is(err, logd.ErrNoTopic) {
		t.Errorf("no topic: %v", err)
	}
	if _, err := logd.NewScanner(ctx, client, "nothing", logd.ScannerConfig{Start: logd.Last(-1)}); err == nil {
		t.Error("Last(-1) is taken")
	}
	// A follower awaits the topic and gets all of it.
	s := newScanner(t, client, "nothing", logd.ScannerConfig{Start: logd.Last(3), Follow: true, AwaitTopic: true})
	defer s.Close()
	for i := range 5 {
		add(t, client, "nothing", fmt.Sprint(i))
	}
	for i := range 5 {
		if m, err := s.Next(ctx); err != nil || string(m.Body) != fmt.Sprint(i) {
			t.Errorf("message %d is %q, %v", i, m.Body, err)
		}
	}
}

package logd_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/progress"
)

// replace deletes the topic and makes another of the name, whose batches are as
// long as those of the first: every old offset is one of the new topic.
func replaceTopic(t *testing.T, c *logd.Client, bodies ...string) {
	t.Helper()
	if err := admin.New(c).Delete(t.Context(), "t", admin.DeleteOptions{Now: true}); err != nil && !errors.Is(err, logd.ErrNotFound) {
		t.Fatal(err)
	}
	for _, body := range bodies {
		var b logd.Batch
		b.Add([]byte(body))
		if _, err := c.Append(t.Context(), "t", &b); err != nil {
			t.Fatal(err)
		}
	}
}

func clientOf(t *testing.T, server *logdtest.Server) *logd.Client {
	t.Helper()
	c, err := logd.Dial(t.Context(), logd.ClientConfig{Addrs: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// scanAll reads to the end and completes what it reads.
func scanAll(t *testing.T, c *logd.Client, state logd.Progress, onGone func(*logd.GoneError) error) ([]string, error) {
	t.Helper()
	s, err := logd.NewScanner(t.Context(), c, "t", logd.ScannerConfig{Progress: state, OnGone: onGone})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got []string
	for s.Scan() {
		m := s.Message()
		got = append(got, string(m.Body))
		if err := state.Done(m.ID(), nil); err != nil {
			t.Fatal(err)
		}
	}
	return got, s.Err()
}

// A state's positions are never applied to another topic of the same name.
func TestScannerTopicReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for name, open := range map[string]func() logd.Progress{
		"memory": func() func() logd.Progress {
			s := new(progress.Memory)
			return func() logd.Progress { return s }
		}(),
		"file": func() logd.Progress {
			s, err := progress.OpenFile(progress.FileConfig{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, logdtest.Start(t))
			read := func(onGone func(*logd.GoneError) error) ([]string, error) {
				state := open()
				if file, ok := state.(*progress.File); ok {
					defer file.Close()
				}
				return scanAll(t, c, state, onGone)
			}
			replaceTopic(t, c, "1a", "1b")
			if got, err := read(nil); err != nil || len(got) != 2 {
				t.Fatalf("read %q (%v)", got, err)
			}
			replaceTopic(t, c, "2a", "2b", "2c")
			for range 2 { // again: the state has not moved
				got, err := read(nil)
				if !errors.Is(err, logd.ErrTopicReplaced) || !errors.Is(err, logd.ErrNotFound) || len(got) > 0 {
					t.Fatalf("read %q of the new topic (%v)", got, err)
				}
			}
			var gone *logd.GoneError
			got, err := read(func(g *logd.GoneError) error { gone = g; return nil })
			if err != nil || len(got) != 3 || gone == nil || !gone.Replaced || gone.Oldest != 0 {
				t.Fatalf("read %q (%v), gone %+v", got, err, gone)
			}
			if got, err := read(nil); err != nil || len(got) > 0 {
				t.Fatalf("read %q again (%v)", got, err)
			}
		})
	}
}

// A Scanner that waits when its topic is deleted says so.
func TestScannerFollowsADeletedTopic(t *testing.T) {
	c := clientOf(t, logdtest.Start(t))
	replaceTopic(t, c, "1a")
	s, err := logd.NewScanner(t.Context(), c, "t", logd.ScannerConfig{Follow: true, Progress: new(progress.Memory)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Scan() {
		t.Fatal(s.Err())
	}
	replaceTopic(t, c, "2a", "2b")
	for s.Scan() {
		t.Errorf("read %q", s.Message().Body)
	}
	if err := s.Err(); !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("ended with %v", err)
	}
}

package logd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

// Each call says whether the topic or the batch was not found.
func TestNotFound(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	ctx := t.Context()
	id, err := client.AppendMessage(ctx, "t", []byte("a message"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(topic string, offset int64) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Read(ctx, topic, offset, logd.ReadOptions{})
			return err
		}
	}
	for name, tt := range map[string]struct {
		call func(ctx context.Context) error
		want error
	}{
		"read":                  {read("none", 0), logd.ErrNoTopic},
		"read in a batch":       {read("t", id.Offset+1), logd.ErrNoBatch},
		"read behind the end":   {read("t", 1000), logd.ErrNoBatch},
		"read before any batch": {read("t", -1), logd.ErrNoBatch},
		"tail": {func(ctx context.Context) error {
			_, err := client.Tail(ctx, "none", logd.ReadOptions{})
			return err
		}, logd.ErrNoTopic},
		"info": {func(ctx context.Context) error {
			_, err := client.Info(ctx, "none")
			return err
		}, logd.ErrNoTopic},
		"seek": {func(ctx context.Context) error {
			_, err := client.Seek(ctx, "none", time.Now())
			return err
		}, logd.ErrNoTopic},
		"delete": {func(ctx context.Context) error { return admin.New(client).Delete(ctx, "none", admin.DeleteOptions{}) }, logd.ErrNoTopic},
		"delete with another id": {func(ctx context.Context) error {
			return admin.New(client).Delete(ctx, "t", admin.DeleteOptions{ID: "0123456789abcdef0123456789abcdef"})
		}, logd.ErrNoTopic},
		"trim": {func(ctx context.Context) error {
			_, err := admin.New(client).Trim(ctx, "none", 0)
			return err
		}, logd.ErrNoTopic},
		"scanner": {func(ctx context.Context) error {
			s := newScanner(t, client, "none", logd.ScannerConfig{})
			_, err := s.Next(ctx)
			return err
		}, logd.ErrNoTopic},
		"new scanner": {func(ctx context.Context) error {
			_, err := logd.NewScanner(ctx, client, "none", logd.ScannerConfig{Start: logd.AtNext()})
			return err
		}, logd.ErrNoTopic},
	} {
		err := tt.call(ctx)
		for _, target := range []error{logd.ErrNoTopic, logd.ErrNoBatch} {
			if errors.Is(err, target) != (target == tt.want) {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
		}
		if !errors.Is(err, logd.ErrNotFound) {
			t.Errorf("%s: %v is not ErrNotFound", name, err)
		}
	}
}

// AppendMessage returns the ID under which the message is found.
func TestAppendMessage(t *testing.T) {
	client := logdtest.Start(t, logdtest.BatchSize(1000)).Client(t)
	var ids []logd.ID
	for _, body := range []string{"first", "", "third"} {
		id, err := client.AppendMessage(t.Context(), "t", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	s := newScanner(t, client, "t", logd.ScannerConfig{Start: logd.After(ids[0])})
	for i, want := range []string{"", "third"} {
		m, err := s.Next(t.Context())
		if err != nil || m.ID() != ids[i+1] || string(m.Body) != want {
			t.Errorf("%v has %q, %v, want %v with %q", m.ID(), m.Body, err, ids[i+1], want)
		}
	}
	if id, err := client.AppendMessage(t.Context(), "t", make([]byte, 1000)); !errors.Is(err, logd.ErrTooLarge) || !logd.IsNotStored(err) || id != (logd.ID{}) {
		t.Errorf("too large: %v, %v", id, err)
	}
}

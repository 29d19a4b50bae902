package admin_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

// TestServer asks a real server everything.
func TestServer(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(1<<10), logdtest.SyncEveryBatch())
	client := server.Client(t)
	c, ctx := admin.New(client), t.Context()
	var offsets []int64
	for range 40 {
		id, err := client.AppendMessage(ctx, "t", make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, id.Offset)
	}

	info, err := c.Info(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	if info.Messages != 40 || info.Batches != 40 || info.Partitions < 4 || info.State != "writable" || info.Synced != info.Next || info.Damaged != 0 {
		t.Errorf("Info = %+v", info)
	}
	known, err := client.Info(ctx, "t")
	if err != nil || known.ID != info.ID || known.Next != info.Next || known.Bytes != info.Bytes {
		t.Errorf("logd.Client.Info = %+v, %v", known, err)
	}
	marks, err := c.Times(ctx, "t", 0, info.Next)
	if err != nil || len(marks) == 0 || marks[0].Offset != 0 || !marks[0].Time.Equal(info.OldestTime) ||
		!marks[len(marks)-1].Time.Equal(info.NewestTime) {
		t.Errorf("Times = %v, %v; the topic is of %v to %v", marks, err, info.OldestTime, info.NewestTime)
	}
	conf, err := c.Config(ctx)
	if err != nil || conf.Host != server.Addr() || !conf.SyncsFirst() || conf.PartitionSize != 1<<10 || conf.MaxMessages == 0 || conf.Version == "" {
		t.Errorf("Config = %+v, %v", conf, err)
	}
	stats, err := c.Stats(ctx)
	if err != nil || !slices.Contains(stats, admin.Field{Name: "requests.batch", Value: "40"}) {
		t.Errorf("Stats = %v, %v", stats, err)
	}
	help, err := c.Help(ctx)
	if err != nil || !slices.ContainsFunc(help, func(h admin.CommandHelp) bool {
		return h.Usage == "INFO <topic> [fresh=1] [settings=1]" && h.Meaning != ""
	}) {
		t.Errorf("Help = %v, %v", help, err)
	}
	if hooks, err := c.Hooks(ctx); err != nil || len(hooks) != 0 {
		t.Errorf("Hooks = %v, %v", hooks, err)
	}
	if err := c.SkipHook(ctx, "t", 0); !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("SkipHook = %v", err)
	}
	plan, err := c.Retention(ctx, "t", admin.RetentionOptions{Partitions: 2})
	if err != nil || int64(len(plan)) != info.Partitions || plan[0].Verdict != "remove" || plan[0].Why != "partitions" || plan[len(plan)-1].Verdict != "keep" {
		t.Errorf("Retention = %+v, %v", plan, err)
	}

	oldest, err := c.Trim(ctx, "t", offsets[20])
	if err != nil || oldest == 0 || oldest > offsets[20] {
		t.Errorf("Trim = %d, %v", oldest, err)
	}
	if err := c.Delete(ctx, "t", admin.DeleteOptions{ID: info.ID, Now: true}); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"Delete":    c.Delete(ctx, "t", admin.DeleteOptions{ID: info.ID}),
		"DeleteAny": c.Delete(ctx, "t", admin.DeleteOptions{}),
		"Info":      second(c.Info(ctx, "t")),
		"Trim":      second(c.Trim(ctx, "t", 0)),
		"Times":     second(c.Times(ctx, "t", 0, 1)),
		"Retention": second(c.Retention(ctx, "t", admin.RetentionOptions{})),
	} {
		if !errors.Is(err, logd.ErrNoTopic) {
			t.Errorf("%s of no topic: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

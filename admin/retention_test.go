package admin_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

func TestRetention(t *testing.T) {
	c, requests := answering(t,
		body("base=0 end=3 verdict=remove why=partitions messages=5 newest=2026-01-02T03:04:05Z\r\n"+
			"base=3 end=50 verdict=keep after-partitions=1 after-bytes=2 at=2026-01-03T03:04:05Z\r\n"),
		"ERR not found\r\n",
	)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plan, err := c.Retention(t.Context(), "t", admin.RetentionOptions{Partitions: -1, Age: 90 * time.Second})
	want := []admin.PlannedPartition{
		{Base: 0, End: 3, Verdict: "remove", Why: "partitions", Messages: 5, Newest: at},
		{Base: 3, End: 50, Verdict: "keep", Messages: -1, AfterPartitions: 1, AfterBytes: 2, At: at.Add(24 * time.Hour)},
	}
	if err != nil || !reflect.DeepEqual(plan, want) {
		t.Errorf("plan is %+v (%v), want %+v", plan, err, want)
	}
	if _, err := c.Retention(t.Context(), "none", admin.RetentionOptions{}); !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("no topic: %v", err)
	}
	if want := []string{"RETENTION t partitions=0 age=90000", "RETENTION none"}; !reflect.DeepEqual(*requests, want) {
		t.Errorf("requests %q, want %q", *requests, want)
	}
}

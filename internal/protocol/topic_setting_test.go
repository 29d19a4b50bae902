package protocol

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInfoSettings: INFO tells settings of a topic with where they are from, and what it
// takes where that is less than the server does.
func TestInfoSettings(t *testing.T) {
	in := TopicInfo{ID: "00", State: Writable, Role: Single, MaxBatchSize: 1024, Settings: []TopicSetting{
		{"retention-age", "720h", `logd.toml:31 [[topic]] "orders.*"`},
		{"batch-size", "1KiB", "set by ops 2026-11-28T19:00:00Z"},
		{"partitions", "8", "default"},
	}}
	body := AppendInfo(nil, &in)
	const lines = "MaxBatchSize: 1024\r\nSettingRetentionAge: 720h logd.toml:31 [[topic]] \"orders.*\"\r\nSettingBatchSize: 1KiB set by ops 2026-11-28T19:00:00Z\r\nSettingPartitions: 8 default\r\n"
	if got := string(body[len(body)-len(lines):]); got != lines {
		t.Errorf("%q, want %q", got, lines)
	}
	back, err := ParseInfo(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, back); diff != "" {
		t.Error(diff)
	}
	if n := back.OwnSettings(); n != 2 {
		t.Errorf("%d settings of its own, want 2", n)
	}
	if v := back.Setting("batch-size"); v != "1KiB" {
		t.Errorf("batch-size is %q", v)
	}
	if _, err := ParseInfo(append(body, "SettingX: y\r\n"...)); err == nil {
		t.Error("a setting without an origin is taken")
	}
	if back, err = ParseInfo(append(body, "Setting: y\r\nSettings: z\r\nSettingsX: 1\r\n"...)); err != nil || len(back.Settings) != 3 {
		t.Errorf("%+v, %v", back.Settings, err)
	}
}

func TestTried(t *testing.T) {
	list := []TriedSetting{{"a", "2", "8"}, {"b", "1h", "0s"}}
	var b []byte
	for i := range list {
		b = AppendTried(b, &list[i])
	}
	back, err := ParseTried(b)
	if diff := cmp.Diff(list, back); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

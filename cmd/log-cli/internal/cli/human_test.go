package cli

import (
	"testing"
	"time"

	"github.com/logd-dev/logd/admin"
)

func TestWhen(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 11, 28, 19, 0, 5, 0, time.UTC)
	for age, want := range map[time.Duration]string{
		0:                    "19:00 (0s)",
		-3 * time.Second:     "19:00 (in 3s)",
		90 * time.Second:     "18:58 (1m)",
		23 * time.Hour:       "20:00 (23h)",
		2 * day:              "Nov 26 (2d)",
		9 * day:              "Nov 19 (9d)",
		25 * day:             "Nov  3 (3w)",
		200 * day:            "2026-05-12 (28w)",
		800 * day:            "2024-09-19 (2y)",
		-400 * day:           "2028-01-02 (in 1y)",
		7*day + 23*time.Hour: "Nov 20 (7d)",
	} {
		if got := When(now.Add(-age), now); got != want {
			t.Errorf("%v ago: %q, want %q", age, got, want)
		}
	}
	if got := When(time.Time{}, now); got != "-" {
		t.Errorf("never: %q", got)
	}
}

func TestForPeople(t *testing.T) {
	now := time.Date(2026, 11, 28, 19, 0, 5, 0, time.UTC)
	for f, want := range map[admin.Field]string{
		{Name: "Bytes", Value: "0"}:                                  "0",
		{Name: "Bytes", Value: "1389570"}:                            "1.4 MB (1,389,570 bytes)",
		{Name: "MaxBatchSize", Value: "65536"}:                       "64 KiB (65,536 bytes)",
		{Name: "bytes.in", Value: "999"}:                             "999",
		{Name: "Messages", Value: "298930"}:                          "298,930",
		{Name: "Next", Value: "77600642"}:                            "77600642",
		{Name: "Topic", Value: "20261128"}:                           "20261128",
		{Name: "NewestTime", Value: "2026-11-28T16:00:05.25Z"}:       "2026-11-28 16:00:05 (2 hours ago)",
		{Name: "NewestTime", Value: ""}:                              "",
		{Name: "DamagedAt", Value: "0-39 78-117"}:                    "0-39 78-117",
		{Name: "State", Value: "read only: no space left on device"}: "read only: no space left on device",
	} {
		if got := ForPeople(f, now); got != want {
			t.Errorf("%v: %q, want %q", f, got, want)
		}
	}
}

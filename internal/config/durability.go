package config

import (
	"fmt"

	"github.com/logd-dev/logd/internal/setting"
)

// Durability says in one sentence what these settings promise of batches that
// were acknowledged.
func (c *Config) Durability() string {
	if c.Node != "" {
		return "acknowledged batches are on stable storage on a majority of the members that vote"
	}
	if c.FlushBatches == 1 {
		return "acknowledged batches survive a power cut: each one is on stable storage before its OK"
	}
	const survive = "acknowledged batches survive a crash of logd; a power cut can lose "
	count := ""
	if c.FlushBatches > 1 {
		count = fmt.Sprintf("the last %d of each topic", c.FlushBatches-1)
		if c.FlushBatches == 2 {
			count = "the last one of each topic"
		}
	}
	interval := max(c.FlushInterval, shortest)
	switch timed := c.FlushInterval >= 0; {
	case count != "" && timed:
		return survive + count + ", if not older than " + setting.FormatDuration(interval)
	case count != "":
		return survive + count
	case timed:
		return survive + "those of the last " + setting.FormatDuration(interval)
	default:
		return survive + "any that the operating system has not yet written by itself"
	}
}

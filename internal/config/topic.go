package config

import (
	"slices"
	"strconv"

	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/setting"
)

// fileOf takes the settings of the file, and returns those of single topics.
func fileOf(l *setting.Loader[Config], path string, data []byte) []overrides.Rule {
	parts, problems := setting.Decode(path, data, settings, map[string]setting.Words{overrides.Header: overrides.Table})
	rules, wrong := overrides.FromFile(path, parts[1:])
	l.Part(path, parts[0], slices.Concat(problems, wrong))
	return rules
}

// serverKey returns the name of the server's setting that counts where no topic's does.
func serverKey(k overrides.Key) string {
	if k == overrides.Durability {
		return "flush-batches"
	}
	return k.String()
}

// TopicOrigins are where the server's values of settings of topics come from: for
// Config.TopicOrigins, which Load leaves empty.
func TopicOrigins(o Origins) (origins overrides.Origins) {
	for _, k := range overrides.Keys() {
		if from := o.Of(serverKey(k)); from.Source != FromDefault {
			origins[k] = from.String()
		}
	}
	return origins
}

// TopicBase returns what counts for topics that no rule is for.
func (c *Config) TopicBase() overrides.Base {
	b := overrides.Base{Origins: c.TopicOrigins, Values: overrides.Values{
		Partitions: c.Partitions, PartitionSize: c.PartitionSize, RetentionAge: c.RetentionAge, RetentionBytes: c.RetentionBytes,
		BatchSize: c.BatchSize, TopicWriteRate: c.TopicWriteRate,
	}}
	if c.FlushBatches == 1 {
		b.Durability = overrides.Synced
	}
	return b
}

// misfits returns which settings of topics do not go with the server's.
func (c *Config) misfits() (problems []error) {
	b := c.TopicBase()
	for i := range c.TopicRules {
		r := &c.TopicRules[i]
		if err := r.Fits(&b); err != nil {
			problems = append(problems, &Error{
				Origin: Origin{Source: FromFile, Name: r.File, Line: r.Line}, Key: r.Key.String(), Value: strconv.Quote(r.Value), Reason: err.Error(),
			})
		}
	}
	return problems
}

package config

import (
	"slices"

	"github.com/logd-dev/logd/internal/overrides"
)

// Reload returns the settings that are in force when a server with the settings old
// is told the settings new while it runs: of these the ones that take effect, and of
// old the rest. changed are the settings that differ from old then, held back those
// that differ from new. keep, if it is not nil, reports settings that stay as they are
// whatever they say of themselves.
func Reload(old, new *Config, keep func(Setting) bool) (merged Config, changed, heldBack []Setting) {
	merged, changed, heldBack = settings.Reload(old, new, keep)
	merged.TopicRules, merged.TopicOrigins = slices.Clone(new.TopicRules), new.TopicOrigins
	for _, k := range overrides.Keys() {
		// Where a value comes from that stays as it was, is where it came from.
		if slices.ContainsFunc(heldBack, func(s Setting) bool { return s.Name == serverKey(k) }) {
			merged.TopicOrigins[k] = old.TopicOrigins[k]
		}
	}
	return merged, changed, heldBack
}

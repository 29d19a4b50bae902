package settings

import (
	"fmt"
	"slices"

	"github.com/logd-dev/logd/internal/forward/inputs"
)

// Reload returns the settings that are in force when an agent with the settings old is
// told the settings new while it runs: the inputs, and what may change; of old the rest.
// changed are the settings at the top that differ from old then, held back those that
// differ from new, and need a restart. Of bounds, larger ones are taken.
//
// An error says why nothing of it can be taken.
func Reload(old, new *Config) (merged *Config, changed, heldBack []Setting, err error) {
	m, changed, heldBack := top.Reload(old, new, func(s Setting) bool {
		bound, ok := larger[s.Name]
		return ok && bound(new) < bound(old)
	})
	m.Inputs, m.defaults, m.origins = slices.Clone(new.Inputs), new.defaults, new.origins
	if m.StateDir == "" {
		for i := range m.Inputs {
			if in := &m.Inputs[i]; in.From.Kind != inputs.Stdin {
				return nil, nil, nil, fmt.Errorf("input %s needs a state-dir, and the agent runs without: it needs a restart", in.Name)
			}
		}
	}
	for i := range m.Inputs {
		in := &m.Inputs[i]
		most := fitting(m.BatchSize, in.Format)
		if in.fits {
			in.MaxLine = most
		}
		if in.MaxLine > most {
			return nil, nil, nil, fmt.Errorf("input %s: max-line is more than fits batches of %s, and a larger batch-size needs a restart", in.Name, value("batch-size", &m))
		}
	}
	return &m, changed, heldBack, nil
}

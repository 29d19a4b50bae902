package outage_test

import (
	"testing"

	"github.com/logd-dev/logd/internal/outage"
)

// Only what was sent in vain is sent again, only when the server is reached, and not
// any more once it is stored or given up.
func TestTrial(t *testing.T) {
	const vain, reached, ended = outage.Vain, outage.Reached, outage.Ended
	for _, tt := range []struct {
		events []outage.TrialEvent
		want   outage.Trial
	}{
		{nil, outage.Calm},
		{[]outage.TrialEvent{reached}, outage.Calm},
		{[]outage.TrialEvent{vain}, outage.Waiting},
		{[]outage.TrialEvent{vain, vain}, outage.Waiting},
		{[]outage.TrialEvent{vain, reached}, outage.Trying},
		{[]outage.TrialEvent{vain, reached, reached}, outage.Trying},
		{[]outage.TrialEvent{vain, reached, vain}, outage.Waiting},
		{[]outage.TrialEvent{vain, ended, reached}, outage.Calm},
		{[]outage.TrialEvent{vain, reached, ended}, outage.Calm},
	} {
		var trial outage.Trial
		for _, event := range tt.events {
			trial.On(event)
		}
		if trial != tt.want {
			t.Errorf("after %v: %d, want %d", tt.events, trial, tt.want)
		}
	}
}

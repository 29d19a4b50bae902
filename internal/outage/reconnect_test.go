package outage_test

import (
	"testing"

	"github.com/logd-dev/logd/internal/outage"
)

// Every state and every event: where it leads.
func TestReconnect(t *testing.T) {
	const idle, pausing, probing, last, over = outage.Idle, outage.Pausing, outage.Probing, outage.Last, outage.Over
	for event, want := range map[outage.Event][5]outage.Reconnect{
		//              idle     pausing  probing  last  over
		outage.PauseBegins: {pausing, pausing, probing, last, over},
		outage.PauseEnds:   {idle, idle, probing, last, over},
		outage.ProbeBegins: {probing, probing, probing, last, last},
		outage.ProbeEnds:   {idle, pausing, idle, over, over},
		outage.NoneFollows: {over, over, last, last, over},
	} {
		for from, to := range want {
			r := outage.Reconnect(from)
			if r.On(event); r != to {
				t.Errorf("event %d leads from %d to %d, want %d", event, from, r, to)
			}
			if r.Running() != (r == probing || r == last) {
				t.Errorf("state %d: running is %v", r, r.Running())
			}
		}
	}
}

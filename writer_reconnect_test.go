package logd

import "testing"

// Every state and every event: where it leads.
func TestReconnect(t *testing.T) {
	const idle, pausing, probing, last, over = reconnectIdle, reconnectPausing, reconnectProbing, reconnectLast, reconnectOver
	for event, want := range map[reconnectEvent][5]reconnect{
		//              idle     pausing  probing  last  over
		pauseBegins: {pausing, pausing, probing, last, over},
		pauseEnds:   {idle, idle, probing, last, over},
		probeBegins: {probing, probing, probing, last, last},
		probeEnds:   {idle, pausing, idle, over, over},
		noneFollows: {over, over, last, last, over},
	} {
		for from, to := range want {
			r := reconnect(from)
			if r.on(event); r != to {
				t.Errorf("event %d leads from %d to %d, want %d", event, from, r, to)
			}
			if r.running() != (r == probing || r == last) {
				t.Errorf("state %d: running is %v", r, r.running())
			}
		}
	}
}

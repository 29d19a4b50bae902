package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestAlarm: however often it is armed, the function is called once, and once more if it
// was armed since it rang.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, again := 0, true
		var a *Alarm
		a = NewAlarm(System{}, time.Second, func() {
			a.Rings()
			if calls++; again {
				again = false
				a.Arm()
			}
		})
		Sleep(System{}, 5*time.Second)
		if calls != 0 {
			t.Errorf("it rings %d times, and was not armed", calls)
		}
		for range 3 {
			a.Arm()
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if calls != 1 {
			t.Errorf("it rings %d times, want once", calls)
		}
		time.Sleep(time.Minute)
		if calls != 2 {
			t.Errorf("it rings %d times, want twice", calls)
		}
		a.Arm()
		a.Stop()
		never := NewAlarm(System{}, 0, func() { calls++ })
		never.Arm()
		never.Stop()
		time.Sleep(time.Minute)
		if calls != 2 {
			t.Errorf("it rings %d times, and was stopped", calls)
		}
	})
}

package clock

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestAlarm: however often it is armed, the function is called once, and once more if it
// was armed since it rang.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		again := true
		var a *Alarm
		a = NewAlarm(System{}, time.Second, func() {
			a.Rings()
			if calls.Add(1); again {
				again = false
				a.Arm()
			}
		})
		Sleep(System{}, 5*time.Second)
		if n := calls.Load(); n != 0 {
			t.Errorf("it rings %d times, and was not armed", n)
		}
		for range 3 {
			a.Arm()
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := calls.Load(); n != 1 {
			t.Errorf("it rings %d times, want once", n)
		}
		time.Sleep(time.Minute)
		if n := calls.Load(); n != 2 {
			t.Errorf("it rings %d times, want twice", n)
		}
		a.Arm()
		a.Stop()
		never := NewAlarm(System{}, 0, func() { calls.Add(1) })
		never.Arm()
		never.Stop()
		time.Sleep(time.Minute)
		if n := calls.Load(); n != 2 {
			t.Errorf("it rings %d times, and was stopped", n)
		}
	})
}

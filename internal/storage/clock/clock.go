// Package clock is the time as a store has it: a [Clock], which tests replace, and an
// [Alarm] for what is to be done a while after something has happened.
package clock

import (
	"sync/atomic"
	"time"
)

// Clock tells the time and runs functions later. Order and offsets never
// depend on it.
type Clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is what Clock.AfterFunc returns, as *time.Timer has it.
type Timer interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// System is the clock of the system.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now() }

// AfterFunc implements Clock.
func (System) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Sleep waits for d to go by on the clock.
func Sleep(c Clock, d time.Duration) {
	over := make(chan struct{})
	c.AfterFunc(d, func() { close(over) })
	<-over
}

// Alarm calls a function a while after it was armed, however often that was.
type Alarm struct {
	after time.Duration // 0 for never
	timer Timer
	armed atomic.Bool // timer will fire
}

// NewAlarm returns an alarm that is not armed. It calls f, which begins with Rings, so
// long after it was armed, or never if that is 0.
func NewAlarm(c Clock, after time.Duration, f func()) *Alarm {
	a := &Alarm{after: after}
	if after > 0 {
		a.timer = c.AfterFunc(after, f)
		a.timer.Stop()
	}
	return a
}

// Arm has the function called, if it is not to be called anyway. It costs next to
// nothing then.
func (a *Alarm) Arm() {
	if a.after > 0 && !a.armed.Load() && a.armed.CompareAndSwap(false, true) {
		a.timer.Reset(a.after)
	}
}

// Rings notes that the function is called: who arms the alarm from here on has it
// called once more.
func (a *Alarm) Rings() { a.armed.Store(false) }

// Stop has the function not called any more, but for a call that is under way.
func (a *Alarm) Stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

package retain

import (
	"math"
	"time"
)

const (
	// Slack is how far the clock may go back without a word, in ms.
	Slack = int64(time.Second / time.Millisecond)

	// Doubt is how far ahead of the clock a time must be for a search by time to
	// believe a later partition more than it, in ms. It is more than what a wrong
	// time zone or summer time makes, since then the clock may as well be behind:
	// what was stored before it was set back must still be found by its time.
	Doubt = int64(15 * time.Hour / time.Millisecond)

	// ClockHold is how long nothing is removed by age after the clock has gone ahead
	// by more than Doubt at once: one that is wrong is mostly set right soon.
	ClockHold = time.Hour
)

// ClockWatch finds the clock to be set ahead. It is for one goroutine.
type ClockWatch struct {
	begun time.Time // by a clock that is never set
	wall  int64     // what the clock said then, or would have said as it is set now
	since time.Time // when it was first found to be set as it is; zero if it is set as then
	by    int64     // how far ahead it was found at since
	low   int64     // how far behind it has been, negative, since it was last set as then
}

// NewClockWatch begins to watch a clock that says wall, in ms; steady is the time
// by a clock that is never set.
func NewClockWatch(steady time.Time, wall int64) ClockWatch {
	return ClockWatch{begun: steady, wall: wall}
}

// Look returns how far ahead the clock was set, in ms, if it is not to be
// believed for that, and 0 otherwise. That is so for ClockHold from when it was
// set ahead, or until it is set back. After that the clock is believed.
func (w *ClockWatch) Look(steady time.Time, wall int64) (ahead int64) {
	ahead = wall - w.wall - steady.Sub(w.begun).Milliseconds()
	switch {
	case max(ahead, -ahead) <= Doubt:
		w.since, w.low = time.Time{}, 0
	case w.since.IsZero() || max(ahead-w.by, w.by-ahead) > Doubt:
		w.since, w.by, w.low = steady, ahead, min(w.low, ahead)
	case steady.Sub(w.since) >= ClockHold:
		w.wall, w.since, w.low, ahead = w.wall+ahead, time.Time{}, 0, 0
	}
	ahead -= w.low
	if ahead <= Doubt {
		return 0
	}
	return ahead
}

// Duration returns milliseconds as a duration, the longest for too many.
func Duration(millis int64) time.Duration {
	return time.Duration(min(millis, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

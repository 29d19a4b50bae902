package link

import (
	"slices"
	"testing"
)

// newCall returns an append of a pool of its own.
func newCall() *Call { return new(callPool).get(answerAppend) }

// What may happen to a call leads to its end, which its caller is told once, and
// to nothing else.
func TestCallSteps(t *testing.T) {
	const anyTime = callEvents // the caller's context ends
	for name, tt := range map[string]struct {
		events []callEvent
		states []callState
		told   int // how often
	}{
		"answered":           {[]callEvent{queued, writing, written, answered}, []callState{callQueued, callWriting, callSent, callOver}, 1},
		"direct":             {[]callEvent{writing, written, answered}, []callState{callWriting, callSent, callOver}, 1},
		"answered too early": {[]callEvent{queued, writing, answered, written}, []callState{callQueued, callWriting, callAnswered, callOver}, 1},
		"not sent":           {[]callEvent{queued, answered}, []callState{callQueued, callOver}, 1},
		"withdrawn":          {[]callEvent{queued, withdrawn}, []callState{callQueued, callWithdrawn}, 0},
		"given up while it is written": {
			[]callEvent{queued, writing, anyTime, written, answered},
			[]callState{callQueued, callWriting, callWriting, callSent, callOver}, 1, // that it is written: then abandon looks
		},
		"given up and answered while it is written": {
			[]callEvent{queued, writing, anyTime, answered, written},
			[]callState{callQueued, callWriting, callWriting, callAnswered, callOver}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCall()
			told := 0
			for i, event := range tt.events {
				if event == anyTime {
					cl.interest = wantsWritten
				} else {
					cl.step(event)
				}
				select {
				case <-cl.done:
					told++
				default:
				}
				if cl.state != tt.states[i] {
					t.Fatalf("event %d leads to state %d, want %d", i, cl.state, tt.states[i])
				}
			}
			if told != tt.told {
				t.Errorf("told %d times, want %d", told, tt.told)
			}
			for event := range callEvents {
				if !panics(func() { cl.step(event) }) {
					t.Errorf("event %d happens to a call that is over", event)
				}
			}
		})
	}
}

// A call that nobody waits for any more goes back to its pool when it is over.
func TestOrphanedCallIsReleased(t *testing.T) {
	cl := newCall()
	cl.out = []byte("x")
	cl.step(queued)
	cl.step(writing)
	cl.interest = orphaned
	cl.step(written)
	if cl.out == nil {
		t.Error("it is released while its answer is awaited")
	}
	cl.step(answered)
	if cl.out != nil || len(cl.done) > 0 {
		t.Error("it is not released")
	}
}

// The role of the reader goes from hand to hand only by way of roleFree, and comes
// back from everywhere.
func TestRoleSteps(t *testing.T) {
	for from := range roles {
		var next []role
		for to := range roles {
			cn := &conn{role: from}
			if !panics(func() { cn.setRole(to) }) {
				next = append(next, to)
			}
		}
		callers := from == roleAwaiting || from == roleReading || from == roleInterrupted || from == roleHurried
		if free := slices.Contains(next, roleFree); free != (callers || from == roleGoroutine) {
			t.Errorf("role %d can be given away: %t", from, free)
		}
		if goroutine := slices.Contains(next, roleGoroutine); goroutine != (from == roleFree) {
			t.Errorf("the goroutine takes role %d: %t", from, goroutine)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

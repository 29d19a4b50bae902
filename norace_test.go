//go:build !race

package logd

// raceEnabled tells that the race detector is on, which takes memory, and
// makes pools forget, of its own accord.
const raceEnabled = false

//go:build !race

package storage

// raceEnabled tells that the race detector is on, which makes pools forget of
// its own accord.
const raceEnabled = false

//go:build !race

package node

// raceEnabled tells that the race detector is on, which allocates.
const raceEnabled = false

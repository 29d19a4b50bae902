//go:build !race

package server_test

// raceEnabled tells that the race detector is on, under which memory and
// allocations are not those of the server.
const raceEnabled = false

//go:build !race

package testkit

// Race tells that the race detector is on. It takes memory, allocates, and makes
// pools forget of its own accord.
const Race = false

//go:build race

package tests

// raceEnabled tells that these tests are built with it. The programs that they
// run are not, so there is little to find.
const raceEnabled = true

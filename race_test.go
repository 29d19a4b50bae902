//go:build race

package logd

const raceEnabled = true

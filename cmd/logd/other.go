//go:build !linux

package main

// The client, logdtest and log-cli build elsewhere, too.
var _ = logd_runs_on_Linux_only

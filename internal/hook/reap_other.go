//go:build !linux

package hook

import "os/exec"

func run(cmd *exec.Cmd) error { return cmd.Run() }

// Adopts reports false: only Linux has processes that adopt others.
func Adopts() bool { return false }

// Reap does nothing here.
func Reap() (stop func()) { return func() {} }

//go:build !linux

package inputs

import "errors"

const recvFlags = 0

const receiveBufferFactor = 1

// What Linux alone has: a buffer by force, and a count of what was dropped.

func forceReceiveBuffer(int, int) error { return errors.ErrUnsupported }

func countDrops(int) {}

func parseDrops([]byte) (uint32, bool) { return 0, false }

func askDrops(int) (uint32, bool) { return 0, false }

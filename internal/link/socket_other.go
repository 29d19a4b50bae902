//go:build !unix

package link

import "net"

// socketOf returns nil: a socket can't be looked at here.
func socketOf(net.Conn) func() socketState { return nil }

package node

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/socket"
)

// ErrNotSocket is something at the path of the unix socket that is no socket, and is kept.
var ErrNotSocket = socket.ErrNotSocket

// listenUnix listens on the unix socket.
func listenUnix(c *config.Config) (net.Listener, error) {
	gid, err := groupOf(c)
	if err != nil {
		return nil, err
	}
	return socket.ListenUnix(c.UnixSocket, c.UnixMode, gid)
}

// groupOf returns the number of the unix socket's group, -1 for that of the process.
func groupOf(c *config.Config) (int, error) {
	if c.UnixGroup == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(c.UnixGroup, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(c.UnixGroup)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return 0, fmt.Errorf("unix-group = %q: there is no such group", c.UnixGroup)
	} else if err != nil {
		return 0, fmt.Errorf("unix-group = %q: %w", c.UnixGroup, err)
	}
	return strconv.Atoi(g.Gid)
}

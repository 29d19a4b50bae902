package main

import (
	"errors"
	"net"

	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/socket"
	"github.com/logd-dev/logd/internal/systemd"
)

// sockets are the listening sockets that the process was started with.
type sockets struct {
	node.Inherited
	settings map[string]string // where they listen, by the setting that each replaces
}

// inheritSockets takes the sockets of an environment.
func inheritSockets(env []string) (s sockets, err error) {
	given, err := systemd.Inherit(env)
	if err != nil {
		return s, err
	}
	s.settings = make(map[string]string)
	switch l := given.Protocol.(type) {
	case nil:
	case *net.UnixListener:
		if given.Unix != nil {
			return s, errors.New("the inherited sockets protocol and unix are both unix sockets, and logd serves one: leave out one of them")
		}
		given.Unix = l
		s.settings["host"] = "" // which it replaces, as the name says
	default:
		s.Protocol = l
		s.settings["host"] = l.Addr().String()
	}
	if l, ok := given.Unix.(*net.UnixListener); ok {
		s.Unix = socket.Lent(l)
		s.settings["unix-socket"] = l.Addr().String()
	}
	if l := given.HTTP; l != nil {
		s.HTTP = l
		s.settings["http-host"] = l.Addr().String()
	}
	return s, nil
}

package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
)

// module is the path of this module.
const module = "github.com/logd-dev/logd"

// person returns the stream that a person reads: a terminal, or, in the source
// tree, where the server is run by hand, standard error unless it is for
// programs. It returns nil if there is none.
func (a *app) person(c *config.Config) io.Writer {
	switch {
	case cmdline.IsTerminal(a.Stderr):
		return a.Stderr
	case cmdline.IsTerminal(a.Stdout):
		return a.Stdout
	case c.LogFormat == config.FormatText && sourceTree("."):
		return a.Stderr
	}
	return nil
}

// tryIt returns lines to paste into another terminal that write to the server
// at addr and read from it.
func tryIt(addr net.Addr, c *config.Config, source bool) string {
	client := "log-cli"
	if source {
		client = "go run ./cmd/log-cli"
	}
	topic := "greetings"
	if len(c.TopicsWhitelist) > 0 {
		topic = c.TopicsWhitelist[0]
	}
	flags := " --topic " + topic
	if host := dialable(addr); host != config.Default().Host {
		flags += " --host " + host
	}
	return "\nIn another terminal, these lines write a message and read what there is:\n\n" +
		"  echo hello | " + client + " write" + flags + "\n" +
		"  " + client + " read" + flags + " -F\n\n"
}

// dialable returns an address of this machine that leads to a listener.
func dialable(addr net.Addr) string {
	a, ok := addr.(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return addr.String()
	}
	local := *a
	local.IP = net.IPv4(127, 0, 0, 1) // an IPv6 listener on all addresses takes IPv4, too
	return local.String()
}

// sourceTree reports whether dir is the root of this module's source, where
// its commands can be run by go run.
func sourceTree(dir string) bool {
	if info, err := os.Stat(filepath.Join(dir, "cmd", "log-cli")); err != nil || !info.IsDir() {
		return false
	}
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	const enough = 4096
	for in := bufio.NewScanner(io.LimitReader(f, enough)); in.Scan(); {
		if name, ok := strings.CutPrefix(in.Text(), "module "); ok {
			return strings.TrimSpace(name) == module
		}
	}
	return false
}

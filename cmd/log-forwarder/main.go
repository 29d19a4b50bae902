// Command log-forwarder takes log lines and messages and stores them in logd.
//
//	log-forwarder --host logs:1774 --topic app 'file:/var/log/app/*.log'
//	make 2>&1 | log-forwarder --topic builds
//	log-forwarder config show
//
// Logs go to standard error. SIGTERM and SIGINT stop it: it makes safe what has arrived,
// and delivers it for a while; a second one ends it at once. SIGHUP has it read its
// settings again. It exits with 0 if all that was taken is stored or on the disk, 1 if not,
// or if another one has its state folder, 2 for wrong usage, 75 if messages are left in
// the spool or an address is in use, and 78 for wrong settings.
package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/forward"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/version"
)

func main() {
	// Whoever reads the logs may go away. That fails a write, and must not end the agent.
	signal.Ignore(syscall.SIGPIPE)
	hostname, _ := os.Hostname()
	a := &app{
		Program: cmdline.Program{Stdout: os.Stdout, Stderr: os.Stderr},
		notify:  cmdline.Notify, start: startAgent,
		sources: settings.Sources{
			DefaultFiles: settings.DefaultFiles(),
			Env:          os.Environ(),
			Hostname:     hostname,
			Terminal:     cmdline.IsTerminal(os.Stdin),
			System:       isOurs,
		},
	}
	os.Exit(a.run(os.Args[1:]))
}

func startAgent(c *settings.Config, once bool, logger *slog.Logger) (agent, error) {
	a, err := forward.New(forward.Options{Settings: c, Logger: logger, Version: version.String(), Once: once})
	if err != nil {
		return nil, err // not a nil *forward.Agent in an interface
	}
	return a, nil
}

// isOurs reports whether a folder of the system is for this process: it is root, or the
// folder belongs to its user.
func isOurs(dir string) bool {
	uid := os.Geteuid()
	if uid == 0 {
		return true
	}
	var st syscall.Stat_t
	return syscall.Stat(dir, &st) == nil && int(st.Uid) == uid
}

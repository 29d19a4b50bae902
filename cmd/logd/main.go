// Command logd is an append-only log server.
//
//	logd
//	logd --workdir /var/lib/logd --flush-batches 1
//	logd config show
//
// Logs go to standard error. SIGTERM and SIGINT shut it down in order; a second
// one cuts it short. SIGHUP has it read its settings again; if standard input is a
// terminal, which that says has gone away, it shuts down as well. It exits with 0 after a clean shutdown, 1 when it failed, 2 for wrong usage, 75
// when it can't listen now, and 78 for wrong settings.
package main

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
)

// The kernel hands a signal to the first thread, and to no other one, also if a disk that does
// not answer holds that thread: the first thread is kept for main, which waits for signals.
func init() { runtime.LockOSThread() }

func main() {
	// Whoever reads the logs may go away. That fails a write, and must not end
	// a server.
	signal.Ignore(syscall.SIGPIPE)
	a := &app{
		Program: cmdline.Program{Stdout: os.Stdout, Stderr: os.Stderr},
		env:     os.Environ(), defaultFiles: config.DefaultFiles(),
		notify: cmdline.Notify, start: startNode,
	}
	node.AdoptChildren()
	os.Exit(a.run(os.Args[1:]))
}

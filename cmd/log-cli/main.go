// Command log-cli writes to, reads from and asks about a logd server.
//
//	echo hello | log-cli write --topic greetings
//	log-cli read --topic greetings
//
// Data goes to standard output, everything else to standard error. It exits
// with 0 when done, 1 when failed, 2 for wrong usage, 3 when something is not
// found, 4 when a check found damage, 5 when the server refuses, 75 when it makes sense to try again later
// and 78 for a wrong setting of the environment.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/bench"
	"github.com/logd-dev/logd/cmd/log-cli/internal/carry"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/consumers"
	"github.com/logd-dev/logd/cmd/log-cli/internal/offline"
	"github.com/logd-dev/logd/cmd/log-cli/internal/operate"
	"github.com/logd-dev/logd/cmd/log-cli/internal/read"
	"github.com/logd-dev/logd/cmd/log-cli/internal/token"
	"github.com/logd-dev/logd/cmd/log-cli/internal/top"
	"github.com/logd-dev/logd/cmd/log-cli/internal/write"
	_ "github.com/logd-dev/logd/codec/s2"
	_ "github.com/logd-dev/logd/codec/zstd"
)

func main() {
	// A closed pipe is an error of a write like any other, which ends the
	// command quietly, rather than a signal that kills the process.
	signal.Ignore(syscall.SIGPIPE)
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // which nohup sees to
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// The first signal ends the command in order; a second one kills it.
	context.AfterFunc(ctx, stop)

	a := &cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	os.Exit(a.Run(ctx, root(a), os.Args[1:]))
}

// root returns the command that has all others, in the order of the help.
func root(a *cli.App) *cobra.Command {
	online := append([]*cobra.Command{write.Command(a), read.Command(a)}, operate.Commands(a)...)
	online = append(online, consumers.Commands(a)...)
	online = append(online, carry.Commands(a)...)
	return a.Root(append(online, top.Command(a), bench.Command(a)), append(offline.Commands(a), token.Command(a)))
}

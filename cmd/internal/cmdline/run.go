package cmdline

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// Signals are those that the process catches.
type Signals struct {
	Stop   <-chan os.Signal // ask it to stop
	Reload <-chan os.Signal // ask it to read its settings again
	LetGo  func()           // has those that ask it to stop kill it again
}

// Notify begins to catch signals.
func Notify() Signals {
	stop := make(chan os.Signal, 2) // the second may come while the first is dealt with
	reload := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	switch {
	case signal.Ignored(syscall.SIGHUP): // which nohup sees to
	case IsTerminal(os.Stdin):
		signal.Notify(stop, syscall.SIGHUP)
	default:
		signal.Notify(reload, syscall.SIGHUP)
	}
	return Signals{Stop: stop, Reload: reload, LetGo: func() { signal.Stop(stop) }}
}

// IsTerminal reports whether the stream is one.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newLogger returns a logger that writes to w.
func newLogger(w io.Writer, json bool, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if json {
		options.ReplaceAttr = durationsAsText
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// durationsAsText makes durations of a log in JSON what they are in text and in
// settings: "1s", and not a number of nanoseconds.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

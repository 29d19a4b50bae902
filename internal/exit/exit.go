// Package exit has what the commands share in how they end: exit codes, and
// output whose reader goes away.
package exit

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The exit codes. Those from 75 on are those of sysexits(3).
const (
	Done      = 0
	Failed    = 1
	Usage     = 2
	NotFound  = 3
	Damage    = 4 // check has found some
	Refused   = 5 // by the server: a limit, a whitelist, read only
	Temporary = 75
	Config    = 78
)

// Error is an error with the exit code that it ends the command with.
type Error struct {
	Code int
	Err  error
}

// Error returns the text of the error alone.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without its code.
func (e *Error) Unwrap() error { return e.Err }

// With gives err an exit code.
func With(code int, err error) error { return &Error{code, err} }

// ErrQuiet ends the command as if it were done, without a word.
var ErrQuiet = errors.New("the reader of the output went away")

// OutputError returns the error of writing data: ErrQuiet if nobody wants to
// read it any more.
func OutputError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return ErrQuiet
	}
	return err
}

// lookInterval is how often UntilClosed looks.
const lookInterval = 100 * time.Millisecond

// UntilClosed returns a context that ends, too, when out is a pipe or a socket
// that nobody reads any more: a program that waits before it writes would not
// notice. The function that it returns ends the watching, and waits for its end.
func UntilClosed(ctx context.Context, out io.Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	file, ok := out.(*os.File)
	if !ok {
		return ctx, cancel
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(lookInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if closed(raw) {
					cancel()
				}
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// closed reports whether the other end of a pipe or socket is closed: poll(2)
// says so without being asked for any event.
func closed(raw syscall.RawConn) (is bool) {
	err := raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(p, 0)
		is = err == nil && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return is && err == nil
}

// HelpWriter writes help, of which the reader may take as much as it likes: a
// closed pipe is no error.
type HelpWriter struct{ io.Writer }

// Write implements io.Writer.
func (w HelpWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}

package hook

import (
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children are the processes that this package has started and waits for. Any
// other child was left to this process by its parent's end.
var children = struct {
	// mu is held for reading from before a process is started until it is in
	// pids, and for writing while others are reaped: what is not in pids then is
	// none of ours.
	mu   sync.RWMutex
	pids sync.Map // of int

	gone chan struct{} // cap 1: one of ours was waited for
}{gone: make(chan struct{}, 1)}

// run runs cmd as cmd.Run does, and keeps Reap from its exit status.
func run(cmd *exec.Cmd) error {
	children.mu.RLock()
	err := cmd.Start()
	if err == nil {
		children.pids.Store(cmd.Process.Pid, true)
	}
	children.mu.RUnlock()
	if err != nil {
		return err
	}
	err = cmd.Wait()
	children.pids.Delete(cmd.Process.Pid)
	select {
	case children.gone <- struct{}{}:
	default:
	}
	return err
}

// Adopts reports whether this process becomes the parent of what its hooks leave
// behind: as process 1, of a container say, or as a subreaper.
func Adopts() bool {
	var subreaper int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0)
	return os.Getpid() == 1 || err == nil && subreaper != 0
}

// Reap waits for adopted processes as they end, so that they do not stay as
// zombies, until the function that it returns is called. It is for a program
// whose every child is a hook.
func Reap() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			reap()
			select {
			case <-ended:
			case <-children.gone:
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(ended)
		close(quit)
		<-done
	}
}

// reap waits for the adopted processes that have ended. It stops at one of our
// own; when that is waited for it is called again.
func reap() {
	children.mu.Lock()
	defer children.mu.Unlock()
	for {
		pid := endedChild()
		if _, ours := children.pids.Load(pid); pid == 0 || ours {
			return
		}
		unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// childInfo is what the kernel says of a child that has ended (siginfo_t).
type childInfo struct {
	_     [3]int32
	child struct {
		_   [0]uintptr // the alignment
		pid int32
	}
	_ [112]byte
}

// endedChild returns a child that has ended and was not waited for, 0 for none.
// It leaves it at that.
func endedChild() int {
	var info childInfo
	err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0 // there are no children
	}
	return int(info.child.pid)
}

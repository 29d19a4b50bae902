package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ownNamespace is set for the process that has mounts of its own.
const ownNamespace = "LOGD_TESTS_OWN_MOUNTS"

// inOwnNamespace runs this program again in a mount namespace of its own, where
// that is allowed: what the tests mount goes with the last of their processes,
// however it ends. It reports false in that namespace, and where there is none.
func inOwnNamespace() (code int, did bool) {
	if os.Getenv(ownNamespace) != "" {
		// What is unmounted here is in the namespaces that some servers have, too: else it
		// would be in use there. If this fails, those tests say so.
		_ = unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
		return 0, false
	}
	if os.Geteuid() != 0 {
		return 0, false
	}
	runtime.LockOSThread() // the child would die with the thread that began it
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), ownNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, false
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), true // -1 after a signal
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// guard has a shell command run when this process ends without having called
// release.
func guard(t testing.TB, command string) (release func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `read -r line; [ "$line" = release ] || `+command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		fmt.Fprintln(in, "release")
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// Package process runs a server as a child process, measures it from outside
// through /proc, and ends it by its process id. It knows nothing of what the
// server does.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// logTail is how much of a server's output goes into an error.
const logTail = 2 << 10

// Command says what to run.
type Command struct {
	// Path is the program, Args what follows its name.
	Path string
	Args []string
	// Dir is the folder that the process works in, and writes its output to,
	// as server.log.
	Dir string
}

// Process is a running child in a process group of its own. It is killed when
// the thread that started it ends, so that it does not outlive this program.
type Process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed once the process is gone
	asked atomic.Bool   // whether its end was asked for
	err   error         // of waiting; set before ended is closed
}

// Start starts the process. Its environment is PATH, HOME and nothing else, so
// that no setting of the person who measures gets into it.
func Start(c Command) (*Process, error) {
	log := filepath.Join(c.Dir, "server.log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Await calls ready every millisecond until it returns nil. It gives up when
// ctx ends or the process does; the error has the end of the process's output.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name(), errors.Join(p.err, err), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w\n%s", p.name(), context.Cause(ctx), err, p.tail())
		case <-tick.C:
		}
	}
}

// Stop asks the process to end by SIGTERM and waits for it. When the time is
// over it is killed, which is an error.
func (p *Process) Stop(limit time.Duration) error {
	if p.gone() {
		if p.asked.Load() {
			return nil
		}
		return fmt.Errorf("%s ended by itself: %w\n%s", p.name(), p.err, p.tail())
	}
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s did not end within %v and was killed", p.name(), limit)
	}
}

// Kill ends the process and its group by SIGKILL and waits for it.
func (p *Process) Kill() {
	if !p.gone() {
		p.signal(syscall.SIGKILL)
	}
	<-p.ended
}

func (p *Process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// signal goes to the whole group, which has the id of its first process.
func (p *Process) signal(s syscall.Signal) {
	p.asked.Store(true)
	if err := syscall.Kill(-p.PID(), s); err != nil {
		p.cmd.Process.Signal(s)
	}
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// tail returns the end of the process's output.
func (p *Process) tail() []byte {
	out, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(out[max(len(out)-logTail, 0):])
}

// Pause stops the process and its group where they are, by SIGSTOP. It can be
// killed then, but not stopped.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets what was paused go on.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

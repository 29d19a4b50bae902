package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"
)

// Partition is what a hook is run for: a partition that is about to be removed.
type Partition struct {
	Topic     string
	Path      string // of the file, absolute
	Base, End int64  // its first offset, and the offset after its last
}

// Command is a program with its arguments.
type Command struct {
	// Args are the program and its arguments; no shell sees them.
	Args []string
	// Timeout is how long the program may run before it and all that it has
	// started are killed; 0 for no limit.
	Timeout time.Duration
	// Node is the member of a cluster that runs it: LOGD_NODE. Empty: none.
	Node string
	// Logger gets what the program writes, line by line.
	Logger *slog.Logger
}

// Words splits the value of a setting into a program and its arguments as a
// shell would split it (single and double quotes, backslash), and expands
// nothing.
func Words(value string) ([]string, error) {
	words, err := shellquote.Split(value)
	switch {
	case err != nil:
		return nil, err
	case len(words) == 0 || words[0] == "":
		return nil, errors.New("names no program")
	}
	return words, nil
}

// waitDelay is how long a program's output is waited for after it was killed
// or has ended: something that it left behind may hold the pipe open.
const waitDelay = time.Second

// Run runs the program for a partition and waits for its end. The end of ctx
// kills it, as the timeout does. The error is nil when it exited with 0, also if
// something that it started goes on; what that writes later is not logged.
//
// The environment is PATH, HOME, TMPDIR and LANG of this process, and
// LOGD_HOOK_TOPIC, LOGD_HOOK_PARTITION, LOGD_HOOK_BASE and LOGD_HOOK_END. The
// program has a process group of its own, and its standard input is empty.
func (c *Command) Run(ctx context.Context, p Partition) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("killed after %s", c.Timeout))
		defer cancel()
	}
	out := &lineLogger{log: c.Logger.With("topic", p.Topic, "partition", p.Path)}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = environment(p)
	if c.Node != "" {
		cmd.Env = append(cmd.Env, "LOGD_NODE="+c.Node)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	err := run(cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it did exit with 0
	}
	out.flush()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("hook %s: %w", c.Args[0], cause)
	}
	if err != nil {
		return fmt.Errorf("hook %s: %w", c.Args[0], err)
	}
	return nil
}

func environment(p Partition) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env,
		"LOGD_HOOK_TOPIC="+p.Topic,
		"LOGD_HOOK_PARTITION="+p.Path,
		"LOGD_HOOK_BASE="+strconv.FormatInt(p.Base, 10),
		"LOGD_HOOK_END="+strconv.FormatInt(p.End, 10),
	)
}

const (
	maxLine  = 1 << 10  // of a program's line, how much is logged
	maxLines = 100      // of a run, how many lines are logged
	maxSeen  = 64 << 10 // of a line without an end, how much is kept
)

// lineLogger logs what is written to it.
type lineLogger struct {
	log   *slog.Logger
	line  []byte
	lines int
}

// Write logs the lines that p ends.
func (l *lineLogger) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.line = append(l.line, p[:min(len(p), maxSeen-len(l.line))]...)
			break
		}
		l.line = append(l.line, p[:min(i, maxSeen-len(l.line))]...)
		l.flush()
		p = p[i+1:]
	}
	return n, nil
}

// flush logs the line that has no end yet.
func (l *lineLogger) flush() {
	line := strings.TrimRight(string(l.line[:min(len(l.line), maxLine)]), "\r")
	l.line = l.line[:0]
	if line == "" {
		return
	}
	switch l.lines++; {
	case l.lines <= maxLines:
		l.log.Info("hook says", "line", line)
	case l.lines == maxLines+1:
		l.log.Warn("hook says more, which is not logged", "lines", maxLines)
	}
}

package journal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// maxEntry bounds a line of journalctl. One that is longer is left out.
const maxEntry = 16 << 20

// child is a journalctl that runs.
type child struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	r      *bufio.Reader
	stderr tail
	stop   context.CancelFunc
}

// start runs journalctl with arguments.
func start(ctx context.Context, program string, args ...string) (*child, error) {
	ctx, stop := context.WithCancel(ctx)
	c := &child{cmd: exec.CommandContext(ctx, program, args...), stop: stop}
	c.cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = time.Second
	var err error
	if c.out, err = c.cmd.StdoutPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		stop()
		return nil, err
	}
	// Who has the output from the child must not keep it open.
	context.AfterFunc(ctx, func() { c.out.Close() })
	c.r = bufio.NewReaderSize(c.out, 64<<10)
	return c, nil
}

// more reports whether there is a line that can be read without waiting.
func (c *child) more() bool {
	b, _ := c.r.Peek(c.r.Buffered())
	return bytes.IndexByte(b, '\n') >= 0
}

// line returns the next line that is not empty, which is good until the next call. Of one
// that is too long it returns the beginning, and the length of all of it.
func (c *child) line() (line []byte, size int64, err error) {
	for {
		var long []byte
		line, err = c.r.ReadSlice('\n')
		size = int64(len(line))
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(long) <= maxEntry {
				long = append(long, line...)
			}
			line, err = c.r.ReadSlice('\n')
			size += int64(len(line))
		}
		if long != nil {
			if len(long) <= maxEntry {
				long = append(long, line...)
			}
			line = long
		}
		if err != nil { // half a line is none
			return nil, 0, err
		}
		// It says so in words, too: -- No entries --
		if line := bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("-- ")) {
			return line, size, nil
		}
	}
}

// end ends the child, and returns how it ended.
func (c *child) end() error {
	c.stop()
	// What it waits to write must not keep it.
	c.out.Close()
	return c.cmd.Wait()
}

// wait waits until a child that has closed its output has ended.
func (c *child) wait() error {
	defer c.stop()
	err := c.cmd.Wait()
	if text := c.stderr.String(); text != "" && err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// tail keeps the beginning of what is written.
type tail struct{ b []byte }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[:min(len(p), 300-len(t.b))]...)
	return len(p), nil
}

// String returns it as one line.
func (t *tail) String() string { return strings.Join(strings.Fields(string(t.b)), " ") }

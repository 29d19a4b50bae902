package write

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// ledger is what every sender knows: what it is to do, and what became of the
// messages.
type ledger struct {
	codec  string // with which batches are compressed; empty for none
	client *logd.Client
	note   func(format string, args ...any) // tells the user something
	life   context.Context                  // ends when nothing more is to be waited for
	retry  time.Duration                    // how long to wait for a server that went away; less than 0 for ever
	// election is after how much silence of a leader a cluster elects another one; 0 for
	// a server that is in none.
	election time.Duration
	topic    string
	limit    int64 // the largest batch that the server takes
	target   int64 // the largest batch to make if it can be helped
	count    int64 // how many messages make a batch full; 0 for any number

	messages int64 // how many messages there were so far

	// mu guards the rest: while there is a Writer, its goroutine changes all of it.
	mu      sync.Mutex
	out     *bufio.Writer // where the batches' offsets go; nil for nowhere
	json    bool
	settled int64 // the first so many messages are stored, wait or are given up
	account account
	err     error // the first failure; nothing is sent after it
}

// errTooLong is the error of a message that no batch can hold.
var errTooLong = errors.New("no batch can hold it")

// errInterrupted is the end of a command that a signal has ended.
var errInterrupted = exit.With(exit.Failed, errors.New("interrupted"))

// failed returns the first failure.
func (d *ledger) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// checkOwner returns an error if the backlog keeps messages for another topic.
func (d *ledger) checkOwner(b *backlog.Disk, path string) error {
	if topic := b.Topic(); topic != "" && topic != d.topic {
		return exit.With(exit.Usage, fmt.Errorf("--backlog is %q, which has messages for topic %q", path, topic))
	}
	return nil
}

// noteLeft says that what an earlier run has left is stored.
func (d *ledger) noteLeft(messages int64, path string) {
	d.note("%d messages that an earlier run has left in %s are stored", messages, path)
}

// awaits reports whether a failure is one of a server that went away, and such a
// server is waited for.
func (d *ledger) awaits(err error) bool { return d.retry != 0 && cli.ExitCode(err) == exit.Temporary }

// fit asks how large a batch the server takes now: it may be another one, or have
// other settings.
func (d *ledger) fit(ctx context.Context) error {
	limit, _, err := d.ask(ctx)
	if err == nil {
		d.limit = min(d.limit, limit)
		d.target = min(d.target, d.limit)
	}
	return err
}

// ask asks how large a batch the server takes, and whether it knows numbers.
func (d *ledger) ask(ctx context.Context) (limit int64, numbers bool, err error) {
	conf, err := admin.New(d.client).Config(ctx)
	if err != nil {
		return 0, false, err
	}
	d.election = conf.ElectionTimeout
	if limit = conf.MaxBatchSize; limit <= 0 {
		limit = logd.DefaultMaxBatchSize
	}
	return limit, conf.Producers > 0, nil
}

// stored accounts for a stored batch and prints it.
func (d *ledger) stored(first, messages, bytes, offset int64) {
	if first > 0 {
		d.account.add(first, first+messages-1, stored)
	}
	if err := d.print(offset, messages, bytes); err != nil && d.err == nil {
		d.err = err
	}
}

// print prints a stored batch. That nobody reads it is no reason to stop
// writing.
func (d *ledger) print(offset, messages, bytes int64) error {
	if d.out == nil {
		return nil
	}
	var err error
	if d.json {
		err = cli.PrintJSON(d.out, struct {
			Topic    string `json:"topic"`
			Offset   int64  `json:"offset"`
			Messages int64  `json:"messages"`
			Bytes    int64  `json:"bytes"`
		}{d.topic, offset, messages, bytes})
	} else {
		err = cli.Printf(d.out, "%d\n", offset)
	}
	return d.unread(err)
}

// flushOutput shows what was printed, and returns the first failure.
func (d *ledger) flushOutput() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out != nil {
		if err := d.unread(exit.OutputError(d.out.Flush())); d.err == nil {
			d.err = err
		}
	}
	return d.err
}

// unread drops the output when its reader went away.
func (d *ledger) unread(err error) error {
	if errors.Is(err, exit.ErrQuiet) {
		d.out = bufio.NewWriter(io.Discard)
		return nil
	}
	return err
}

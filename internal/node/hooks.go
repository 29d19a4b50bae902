package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/hook"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
)

// hooks runs the delete hook for the partitions that a store holds. It is the
// store's Holder. nil is one without a delete hook.
type hooks struct {
	queue   *hook.Queue
	workDir string        // absolute
	opened  chan struct{} // closed when from is set
	from    releaser
}

// releaser lets partitions go whose hook has succeeded.
type releaser interface {
	Release(topic string, base int64) error
}

// newHooks returns what runs the delete hook of c, or nil if there is none.
func newHooks(c *config.Config, log *slog.Logger) (*hooks, error) {
	if c.DeleteHook == "" {
		return nil, nil
	}
	words, err := hook.Words(c.DeleteHook)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(c.WorkDir)
	if err != nil {
		return nil, err
	}
	h := &hooks{workDir: dir, opened: make(chan struct{})}
	command := &hook.Command{Args: words, Timeout: c.DeleteHookTimeout, Node: c.Node, Logger: log}
	h.queue = hook.NewQueue(hook.Options{
		Run: func(ctx context.Context, p hook.Partition) error {
			select {
			case <-h.opened: // the store tells of partitions while it is being opened
			case <-ctx.Done():
				return ctx.Err()
			}
			return command.Run(ctx, p)
		},
		Release:  h.release,
		Parallel: c.DeleteHookParallel,
		Logger:   log,
	})
	return h, nil
}

// begin tells whose partitions they are.
func (h *hooks) begin(r releaser) {
	if h != nil {
		h.from = r
		close(h.opened)
	}
}

// end waits for the hooks that run until ctx ends, and kills them then.
func (h *hooks) end(ctx context.Context) error {
	if h == nil {
		return nil
	}
	return h.queue.Shutdown(ctx)
}

// Hooks implements topic.Hooks.
func (h *hooks) Hooks() []topic.Hook {
	if h == nil {
		return nil
	}
	var list []topic.Hook
	for _, e := range h.queue.Entries() {
		line := topic.Hook{
			Topic: e.Topic, Base: e.Base, End: e.End, State: e.State.String(), Attempts: e.Attempts, Err: e.Err,
		}
		if e.State == hook.Failed {
			line.Next = e.Next
		}
		list = append(list, line)
	}
	return list
}

// RetryHook implements topic.Hooks.
func (h *hooks) RetryHook(name string, base int64) error {
	if h == nil || h.queue.Retry(name, base) != nil {
		return topic.ErrNotFound
	}
	return nil
}

// SkipHook implements topic.Hooks.
func (h *hooks) SkipHook(name string, base int64) error {
	if h == nil || h.queue.Skip(name, base) != nil {
		return topic.ErrNotFound
	}
	return nil
}

// Hold implements storage.Holder.
func (h *hooks) Hold(p storage.Held) {
	h.queue.Add(hook.Partition{Topic: p.Topic, Path: filepath.Join(h.workDir, p.File), Base: p.Base, End: p.End})
}

// Gone implements storage.Holder.
func (h *hooks) Gone(p storage.Held) { h.queue.Drop(p.Topic, p.Base) }

func (h *hooks) release(p hook.Partition) error {
	<-h.opened
	err := h.from.Release(p.Topic, p.Base)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // removed by other means
	}
	return err
}

// AdoptChildren makes a program whose only children are delete hooks wait for
// what they leave behind, until it ends, if it is the one that adopts it: as
// process 1 of a container, say.
func AdoptChildren() {
	if hook.Adopts() {
		hook.Reap()
	}
}

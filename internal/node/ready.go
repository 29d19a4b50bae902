package node

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/logd-dev/logd/internal/web"
)

// checks returns what Ready looks at, each by itself, and whether the parts have taken
// what they were told last. A part that has not goes on with what it has, so the node is
// ready all the same.
func (n *Node) checks() []web.Check {
	s, store := n.server.Load(), n.store.Load()
	if store == nil || s == nil {
		err := errors.New("under way")
		if w := n.waits.Load(); w != nil {
			err = errors.New(*w)
		} else if p := n.progress.String(); p != "" {
			err = errors.New(p)
		}
		return []web.Check{{Name: "recovery", Err: err}}
	}
	var drain, trouble, disk error
	if s.Draining() {
		drain = errors.New("shutting down")
	}
	for name, err := range store.Broken() {
		trouble = fmt.Errorf("topic %s can't be opened: %w", name, err)
	}
	for _, t := range store.Stats().Topics {
		switch {
		case t.Err == nil:
		case errors.Is(t.Err, syscall.ENOSPC) || errors.Is(t.Err, syscall.EDQUOT):
			disk = fmt.Errorf("topic %s: %w", t.Topic, t.Err)
		default:
			trouble = fmt.Errorf("topic %s is read only: %w", t.Topic, t.Err)
		}
	}
	list := []web.Check{{Name: "recovery"}, {Name: "drain", Err: drain}, {Name: "storage", Err: trouble}, {Name: "disk", Err: disk}}
	if m := n.member.Load(); m != nil {
		list = append(list, web.Check{Name: "cluster", Err: m.ready()})
	}
	return append(list, n.reload.checks()...)
}

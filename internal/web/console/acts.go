package console

import (
	"cmp"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// acts reports whether pages offer what their visitor may change. They do nothing by
// themselves: the script asks the HTTP API, which judges each request anew.
func (v *visit) acts() bool { return v.console.o.API && v.console.o.Acts() }

// mayChange reports whether a page offers its visitor what a command does to a topic.
func (v *visit) mayChange(cmd protocol.Command, topic string) bool {
	return v.acts() && v.caller.May(&protocol.Request{Command: cmd, Topic: []byte(topic)})
}

// mayMove reports whether a page offers its visitor to move the position of a consumer, or
// with no name that of some consumer, and with force one that another holds.
func (v *visit) mayMove(topic, consumer string, force bool) bool {
	return v.acts() && v.caller.May(&protocol.Request{
		Command: protocol.Position, Topic: []byte(topic), Consumer: []byte(consumer), Position: &protocol.PositionRequest{Set: true, Force: force},
	})
}

// mayTransfer reports whether a page offers its visitor to move leads of the cluster.
func (v *visit) mayTransfer() bool {
	return v.acts() && v.caller.May(&protocol.Request{Command: protocol.Transfer})
}

// topicActs are what is offered of a topic.
type topicActs struct {
	Trim, Delete, Hook, Set, Position, Force bool
}

func (v *visit) topicActs(keepsPositions bool) (a topicActs) {
	if batch.Own([]byte(v.topic)) { // which nobody changes by a request
		return a
	}
	a.Trim, a.Delete, a.Hook = v.mayChange(protocol.Trim, v.topic), v.mayChange(protocol.Delete, v.topic), v.mayChange(protocol.Hook, v.topic)
	a.Set = v.mayChange(protocol.Set, v.topic)
	if keepsPositions {
		a.Position, a.Force = v.mayMove(v.topic, "", false), v.mayMove(v.topic, "", true)
	}
	return a
}

// hooks returns the partitions of the topic that wait for their delete hooks, if the
// visitor may know of them.
func (v *visit) hooks() []protocol.PendingHook {
	if !v.caller.May(&protocol.Request{Command: protocol.Hook, Topic: []byte(v.topic)}) {
		return nil
	}
	all, err := v.caller.Hooks(v.ctx)
	if err != nil {
		return nil
	}
	all = slices.DeleteFunc(all, func(h protocol.PendingHook) bool { return h.Topic != v.topic })
	slices.SortFunc(all, func(a, b protocol.PendingHook) int { return cmp.Compare(a.Base, b.Base) })
	return all
}

package ask

import (
	"context"

	"github.com/logd-dev/logd/internal/protocol"
)

// Positions returns where consumers are, as far as the caller may see it, by topic and
// consumer: those of one topic, or of all if it is empty, behind one of them, or from the
// first on. There are protocol.MaxPositions at most.
func (c *Caller) Positions(ctx context.Context, topic, afterTopic, afterConsumer string) ([]protocol.PositionInfo, error) {
	return c.PositionsPage(ctx, topic, &protocol.PositionsRequest{AfterTopic: afterTopic, AfterConsumer: afterConsumer})
}

// PositionsPage is Positions of a page.
func (c *Caller) PositionsPage(ctx context.Context, topic string, page *protocol.PositionsRequest) ([]protocol.PositionInfo, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Positions, Topic: []byte(topic), Positions: page}, protocol.ParsePositions)
}

// AllPositions returns where all consumers of a topic are.
func (c *Caller) AllPositions(ctx context.Context, topic string) (all []protocol.PositionInfo, err error) {
	page := protocol.PositionsRequest{Limit: protocol.MaxPositions}
	for {
		list, err := c.PositionsPage(ctx, topic, &page)
		if all = append(all, list...); err != nil || len(list) < protocol.MaxPositions {
			return all, err
		}
		page.AfterTopic, page.AfterConsumer = topic, list[len(list)-1].Consumer
	}
}

// Position returns where a consumer is.
func (c *Caller) Position(ctx context.Context, topic, consumer string, fresh bool) (protocol.PositionInfo, error) {
	list, err := body(ctx, c, &protocol.Request{Command: protocol.Position, Topic: []byte(topic), Consumer: []byte(consumer), Fresh: fresh}, protocol.ParsePositions)
	if err == nil && len(list) != 1 {
		err = protocol.ErrInternal
	}
	if err != nil {
		return protocol.PositionInfo{}, err
	}
	return list[0], nil
}

// SetPosition has done with a position what p says, and returns its version.
func (c *Caller) SetPosition(ctx context.Context, topic, consumer string, p *protocol.PositionRequest) (version int64, err error) {
	a, err := c.Ask(ctx, &protocol.Request{Command: protocol.Position, Topic: []byte(topic), Consumer: []byte(consumer), Position: p})
	return a.Offset, err
}

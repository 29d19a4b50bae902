package ask

import (
	"context"

	"github.com/logd-dev/logd/internal/protocol"
)

// Positions returns where consumers are, as far as the caller may see it, by topic and
// consumer: those of one topic, or of all if it is empty, behind one of them, or from the
// first on. There are protocol.MaxPositions at most.
func (c *Caller) Positions(ctx context.Context, topic, afterTopic, afterConsumer string) ([]protocol.PositionInfo, error) {
	return body(ctx, c, &protocol.Request{
		Command: protocol.Positions, Topic: []byte(topic),
		Positions: &protocol.PositionsRequest{AfterTopic: afterTopic, AfterConsumer: afterConsumer},
	}, protocol.ParsePositions)
}

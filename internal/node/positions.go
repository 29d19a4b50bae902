package node

import (
	"fmt"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/keeper"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/storage"
)

// openPositions begins to keep the positions of consumers, before anything is appended.
func (n *Node) openPositions(store *storage.Store, m *member) error {
	o := keeper.Options{Store: store.Contract(), Rules: positionRules(&n.o.Config), Logger: n.log}
	if m != nil {
		o.Store, o.Fresh, o.Rules = m.node.Topics(), m.node.Fresh, positionRules(m.limits.Load())
		n.keeper.Store(keeper.New(o)) // nothing that was acknowledged is lost
		return nil
	}
	k := keeper.New(o)
	if err := k.Open(); err != nil {
		return fmt.Errorf("positions of consumers: %w", err)
	}
	n.keeper.Store(k)
	return nil
}

// positionRules returns what a configuration says of positions.
func positionRules(c *config.Config) positions.Rules {
	return positions.Rules{Most: c.Positions, Stale: c.PositionStale}
}

package node

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

const (
	// exportedPositions bounds the positions that have metrics of their own.
	exportedPositions = 1000
	// surveyTime bounds what looking at all positions takes of a collection of metrics.
	surveyTime = 200 * time.Millisecond
)

// positions shows how consumers stand. Those that are stale are counted, and no more.
func (out sample) positions(k *keeper.Keeper) {
	all, err := k.Survey(surveyTime)
	if err != nil {
		return // of which every reader and writer of positions is told
	}
	states := map[positions.State]int64{positions.OK: 0, positions.Gone: 0, positions.Ahead: 0, positions.Stale: 0}
	furthest := make(map[string]int64)
	exported, more := 0, int64(0)
	for i := range all {
		s := &all[i]
		if states[s.State]++; s.State == positions.Stale {
			continue
		}
		furthest[s.Topic] = max(furthest[s.Topic], s.LagBytes)
		if exported == exportedPositions {
			more++
			continue
		}
		exported++
		out.gauge("logd_position_lag_bytes", s.LagBytes, s.Topic, s.Consumer)
		out.gauge("logd_position_lost_bytes", s.LostBytes, s.Topic, s.Consumer)
		if s.Lag >= 0 {
			out.value("logd_position_lag_seconds", prometheus.GaugeValue, s.Lag.Seconds(), []string{s.Topic, s.Consumer})
		}
	}
	for state, n := range states {
		out.gauge("logd_positions", n, string(state))
	}
	out.gauge("logd_positions_not_exported", more)
	for topic, lag := range furthest {
		out.gauge("logd_topic_position_lag_bytes_max", lag, topic)
	}
}

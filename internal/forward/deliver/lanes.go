package deliver

import (
	"maps"
	"slices"
	"time"
)

// lane returns the lane of a topic. Of a topic that a template has made, the lane may be
// that of the fallback.
func (d *Delivery) lane(topic string, made bool) *lane {
	l, fresh := d.laneOf(topic, made)
	if fresh && d.ledger != nil {
		d.fail(d.ledger.TopicMade(topic))
	}
	return l
}

// laneOf is lane, and tells whether a template has made the topic just now.
func (d *Delivery) laneOf(topic string, made bool) (l *lane, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l = d.lanes[topic]
	if made && topic != d.cfg.Fallback && (d.refused[topic] || l == nil && d.made >= d.cfg.MaxTopics) {
		if !d.refused[topic] {
			if len(d.refused) < 10*d.cfg.MaxTopics+100 { // else it may be logged again
				d.refused[topic] = true
			}
			d.log.Warn("too many topics: the messages go to the fallback", "topic", topic, "fallback", d.cfg.Fallback, "max", d.cfg.MaxTopics)
		}
		topic, made = d.cfg.Fallback, false
		l = d.lanes[topic]
	}
	if l == nil {
		l, fresh = d.begin(topic), made
		if made {
			l.made = true
			d.made++
		}
	}
	return l, fresh
}

// begin begins a lane. d.mu is held.
func (d *Delivery) begin(topic string) *lane {
	l := &lane{d: d, topic: topic, pid: d.pid, wake: make(chan struct{}, 1), started: time.Now()}
	d.lanes[topic] = l
	d.workers.Go(l.run)
	return l
}

// allLanes returns the lanes, in no order.
func (d *Delivery) allLanes() []*lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.lanes))
}

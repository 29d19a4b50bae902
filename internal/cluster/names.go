package cluster

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/topic"
)

// names finds topics by name: those that are certain, which readers and writers may
// use. Their folders get their names a little later.
type names struct {
	mu      sync.RWMutex
	of      map[string]*Log
	removed map[entry.ID]removed // lately
}

type removed struct {
	name string
	at   time.Time
}

func (t *names) get(name string) *Log {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.of[name]
}

// set has a name be a log's, and what had it before be gone; nil for nobody's.
func (t *names) set(name string, l *Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.of[name]; old != nil {
		old.gone.Store(true)
		old.Wake()
	}
	if l == nil {
		delete(t.of, name)
		return
	}
	if t.of == nil {
		t.of = make(map[string]*Log)
	}
	t.of[name] = l
}

// remove takes the name from a topic that was deleted, and remembers that for a while.
func (t *names) remove(p *entry.Topic, now time.Time, keep time.Duration) {
	if l := t.get(p.Name); l != nil && entry.ID(l.ID()) == p.ID {
		t.set(p.Name, nil)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.removed, func(_ entry.ID, r removed) bool { return now.Sub(r.at) > keep })
	if t.removed == nil {
		t.removed = make(map[entry.ID]removed)
	}
	t.removed[p.ID] = removed{p.Name, now}
}

// wasRemoved reports whether a topic was removed lately.
func (t *names) wasRemoved(name string, id entry.ID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.removed[id].name == name
}

func (t *names) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := len(t.of)
	if t.of[topic.Positions] != nil {
		n--
	}
	return n
}

// all returns all names, sorted.
func (t *names) all() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.of))
}

// logs returns the topics, by name.
func (t *names) logs() []*Log {
	t.mu.RLock()
	defer t.mu.RUnlock()
	logs := make([]*Log, 0, len(t.of))
	for _, name := range slices.Sorted(maps.Keys(t.of)) {
		logs = append(logs, t.of[name])
	}
	return logs
}

// made has a topic be found that is certain.
func (n *Node) made(number int, p *entry.Topic) {
	l := n.topics.Get(number, p.Number)
	if l == nil {
		return
	}
	if old := n.names.get(p.Name); old != nil && old.Log == l && old.number == p.Number {
		return
	}
	n.names.set(p.Name, &Log{n: n, group: number, number: p.Number, Log: l})
}

// nameAll has the topics of a group be found, and no others.
func (n *Node) nameAll(number int) {
	known := make(map[string]bool)
	for _, p := range n.core.groups[number].g.Topics() {
		known[p.Name] = true
		n.made(number, &p)
	}
	for _, l := range n.names.logs() {
		if l.group == number && !known[l.Name()] {
			n.names.set(l.Name(), nil)
		}
	}
}

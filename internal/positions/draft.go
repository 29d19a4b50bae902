package positions

import (
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Draft is changes of a table that are judged, and not yet stored. Create it with
// [Table.Draft].
type Draft struct {
	table   *Table
	rules   Rules
	now     time.Time
	clock   time.Duration
	version int64
	changed map[Key]*Position // nil: removed
	more    int               // positions than the table has
	full    bool              // there is no stale one that makes room
	lines   [][]byte
	size    int
}

// Draft begins changes at a time, which is also one of the clock that Apply is told.
func (t *Table) Draft(r Rules, now time.Time, clock time.Duration) *Draft {
	return &Draft{table: t, rules: r, now: now, clock: clock, version: t.version, changed: make(map[Key]*Position)}
}

// Lines returns the records that say what has changed: they are to be stored in one
// batch, or those of a draft that is begun anew, if something else was stored before.
func (d *Draft) Lines() [][]byte { return d.lines }

// Size returns how many bytes the lines have.
func (d *Draft) Size() int { return d.size }

func (d *Draft) add(line []byte) {
	d.lines = append(d.lines, line)
	d.size += len(line)
}

// get returns a position as it is with what was judged so far. It is not to be changed.
func (d *Draft) get(k Key) *Position {
	if p, ok := d.changed[k]; ok {
		return p
	}
	return d.table.of[k]
}

// put has a position be another one, or gone.
func (d *Draft) put(k Key, p *Position) {
	switch was := d.get(k); {
	case was == nil && p != nil:
		d.more++
	case was != nil && p == nil:
		d.more--
	}
	d.changed[k] = p
}

// Do judges a change and returns the version that the position has then, 0 for Forget.
// Errors are ErrNotFound, ErrLimit, a *VersionError or a *HeldError; nothing has changed
// then.
func (d *Draft) Do(c *Change) (version int64, err error) {
	p := d.get(c.Key)
	if p == nil && c.What != Set {
		if c.What == Forget {
			return 0, nil
		}
		return 0, ErrNotFound
	}
	present := int64(0)
	if p != nil {
		present = p.Version
		if left, is := p.held(d.clock); is && p.As != c.As && !c.Force {
			return 0, &HeldError{By: p.As, Left: left}
		}
	}
	if c.Versioned && c.Version != present {
		return 0, &VersionError{Present: present}
	}
	switch c.What {
	case Set:
		return d.set(p, c)
	case Forget:
		d.forget(c.Key)
		return 0, nil
	case Let:
		if p.As != "" {
			q := *p
			q.As, q.Hold, q.until = "", 0, 0
			d.put(c.Key, &q)
			d.add(appendSet(nil, &q))
		}
	case Take:
		q := *p
		d.hold(&q, c)
		d.put(c.Key, &q)
		if p.As != q.As {
			d.add(appendSet(nil, &q))
		}
	}
	return present, nil
}

func (d *Draft) set(p *Position, c *Change) (version int64, err error) {
	q := Position{Key: c.Key, Topic: c.Topic, At: c.At, Updated: d.now, TTL: c.TTL, By: c.By, Note: c.Note}
	switch {
	case p != nil:
		if _, is := p.held(d.clock); is && !c.Lets {
			q.As, q.Hold, q.until = p.As, p.Hold, p.until
		}
	case d.table.Len()+d.more >= d.rules.Most && !d.makeRoom():
		return 0, ErrLimit
	}
	if c.Hold > 0 {
		d.hold(&q, c)
	}
	d.version++
	q.Version = d.version
	d.put(c.Key, &q)
	d.add(appendSet(nil, &q))
	return q.Version, nil
}

// hold has a position held from now on. Whoever holds it already goes on, and nothing is
// written of that.
func (d *Draft) hold(p *Position, c *Change) {
	if p.As != c.As {
		p.Hold = c.Hold
	}
	p.As, p.until = c.As, d.clock+c.Hold
}

func (d *Draft) forget(k Key) {
	d.version++
	d.put(k, nil)
	d.add(appendForget(nil, d.version, k))
}

// makeRoom removes the position that is stale for the longest time, if there is one.
func (d *Draft) makeRoom() bool {
	if d.full { // many may be refused at once, and all positions are looked at
		return false
	}
	var oldest *Position
	for k, p := range d.table.of {
		if _, ok := d.changed[k]; ok || !p.Stale(d.rules, d.now) {
			continue
		}
		if _, is := p.held(d.clock); !is && (oldest == nil || p.Updated.Before(oldest.Updated)) {
			oldest = p
		}
	}
	if oldest == nil {
		d.full = true
		return false
	}
	d.forget(oldest.Key)
	return true
}

// StepBack sets a position back to a place, whoever holds it.
func (d *Draft) StepBack(p *Position, at batch.Place) {
	q := *p
	d.version++
	q.At, q.Version = at, d.version
	d.put(p.Key, &q)
	d.add(appendSet(nil, &q))
}

// Remove removes a position, whoever holds it.
func (d *Draft) Remove(k Key) { d.forget(k) }

// Renew has holds run as they do in the draft, which is stored or has no lines.
func (d *Draft) Renew() {
	for k, q := range d.changed {
		if p := d.table.of[k]; p != nil && q != nil && p.As == q.As {
			p.until = q.until
		}
	}
}

package tests

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// finish has all members run and agree, ends the traffic, and checks its history and
// that all members have the same bytes, over the protocol and in their files, which are
// cut at the same places unless recut is set.
func (c *cluster) finish(l *traffic, recut bool) *history {
	c.t.Helper()
	return c.finishWith(l, recut, func() {})
}

// finishWith is finish that also looks at members that have everything, and run.
func (c *cluster) finishWith(l *traffic, recut bool, look func()) *history {
	c.t.Helper()
	if err := c.net.heal(); err != nil {
		c.t.Fatal(err)
	}
	for _, m := range c.live() {
		if m.stopped {
			m.resume()
		}
		if !m.running() {
			m.start()
		}
	}
	l.goesOn(20)
	h := l.end()
	if c.t.Failed() && os.Getenv("SEEDED_BUG") != "" {
		c.t.FailNow() // the bug is seen
	}
	ends := c.settle(append(slices.Clone(l.topics), programTopic))
	for _, topic := range l.topics {
		if ends[topic] > 0 {
			h.stored[topic] = founds(c.t, c.same(topic, ends[topic]))
		}
	}
	l.program.stored(c.same(programTopic, ends[programTopic]))
	for _, problem := range h.check() {
		c.t.Error(problem)
	}
	for _, topic := range l.topics {
		for _, problem := range h.linearize(topic) {
			c.t.Error(problem)
		}
	}
	look()
	c.stopAll()
	for topic := range ends {
		c.sameFiles(topic, recut)
	}
	return h
}

// settle waits until all members know the same ends, and returns them.
func (c *cluster) settle(topics []string) map[string]int64 {
	c.t.Helper()
	ends := make(map[string]int64)
	for _, topic := range topics {
		var told []string
		begun := time.Now()
		for {
			told = nil
			for _, m := range c.live() {
				body, err := m.ask("INFO %s fresh=1", topic)
				if err != nil {
					told = append(told, err.Error())
					continue
				}
				info := fields(body)
				told = append(told, info["Next"]+" "+info["Damaged"])
			}
			end, damaged, ok := strings.Cut(told[0], " ")
			same := len(slices.Compact(slices.Clone(told))) == 1
			if n, err := decimal(end); same && ok && err == nil && damaged == "0" {
				ends[topic] = n
				break
			}
			if same && told[0] == "ERR not found" {
				break
			}
			if time.Since(begun) > patience {
				c.t.Fatalf("after %v the members do not agree about the end of %s and its damage: %q\n%v\n%v", patience, topic, told, c.table("CLUSTER"), c.table("GROUPS"))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return ends
}

// same reads a topic from each member, and returns what all have.
func (c *cluster) same(topic string, end int64) (all []batch) {
	c.t.Helper()
	var first *member
	for _, m := range c.live() {
		batches, err := m.readAll(topic, end)
		if err != nil {
			c.t.Fatalf("read %s from %s: %v", topic, m, err)
		}
		if first == nil {
			first, all = m, batches
			continue
		}
		for i := range max(len(all), len(batches)) {
			if i >= len(all) || i >= len(batches) || all[i].offset != batches[i].offset || all[i].wire != batches[i].wire {
				c.t.Fatalf("%s: batch %d is another one on %s and %s", topic, i, first, m)
			}
		}
	}
	return all
}

// readAll reads a topic up to its end.
func (m *member) readAll(topic string, end int64, words ...string) (all []batch, err error) {
	nc, err := dialFor(m.c.net, m.addr(), time.Second)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	c := &conn{in: bufio.NewReaderSize(nc, 64<<10)}
	for next, busy := int64(0), 0; next < end; {
		nc.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintln(nc, strings.Join(append([]string{"READ", topic, fmt.Sprint(next), "1000"}, words...), " ")+"\r"); err != nil {
			return nil, err
		}
		_, got, err := c.batches()
		if err == refusal("busy") && busy < 100 { // what was damaged is being refilled
			busy++
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("at %d: %w", next, err)
		}
		all = append(all, got...)
		next = got[len(got)-1].end()
	}
	return all, nil
}

// whole reports whether the member has all of the topics, checked batch by batch.
func (m *member) whole(topics []string) bool {
	for _, topic := range topics {
		body, err := m.ask("INFO %s", topic)
		if err == refusal("not found") {
			continue
		}
		next, e := decimal(fields(body)["Next"])
		if err != nil || e != nil {
			return false
		}
		if _, err := m.readAll(topic, next, "verify=1"); err != nil {
			return false
		}
	}
	return true
}

// stopAll ends all members in order, at once.
func (c *cluster) stopAll() {
	c.t.Helper()
	for _, m := range c.live() {
		m.signal(syscall.SIGTERM)
	}
	for _, m := range c.live() {
		if code := m.s.wait(); code != 0 {
			c.t.Errorf("exit code %d of %s after SIGTERM, want 0", code, m)
		}
	}
}

// sameFiles compares the files of a topic on all members: the bytes, and where they are
// cut unless recut is set.
func (c *cluster) sameFiles(topic string, recut bool) {
	c.t.Helper()
	var first *member
	var want []byte
	var cuts []int64
	for _, m := range c.live() {
		if _, err := os.Stat(filepath.Join(m.dir, topic)); err != nil && first == nil {
			continue
		}
		bases := partitions(c.t, m.dir, topic)
		var have []byte
		for i, base := range bases {
			b, err := os.ReadFile(partitionFile(m.dir, topic, base))
			if err != nil {
				c.t.Fatal(err)
			}
			if i > 0 && base != bases[0]+int64(len(have)) {
				c.t.Errorf("%s on %s: a file begins at %d, and the one before ends at %d", topic, m, base, bases[0]+int64(len(have)))
			}
			have = append(have, b...)
		}
		if first == nil {
			first, want, cuts = m, have, bases
			continue
		}
		if !bytes.Equal(have, want) {
			c.t.Errorf("%s: the files of %s and %s are not the same: %d and %d bytes", topic, first, m, len(want), len(have))
		} else if !recut && !slices.Equal(bases, cuts) {
			c.t.Errorf("%s: the files of %s begin at %v, those of %s at %v", topic, first, cuts, m, bases)
		}
	}
}

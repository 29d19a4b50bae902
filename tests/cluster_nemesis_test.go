package tests

import (
	"os"
	"slices"
	"time"
)

// nemesis is something that happens to a cluster of three members.
type nemesis struct {
	name  string
	needs needs
	run   func(e *episode)
}

// needs is what a nemesis can't do without.
type needs int

const (
	needsNothing needs = iota
	needsRoot
	needsCuts // a network that can be cut
)

var nemeses = []nemesis{
	{"kill the leader", needsNothing, func(e *episode) {
		e.during("kill -9 of the leader", e.topic(), func(m *member) { m.kill() })
		e.restart()
	}},
	{"kill a follower", needsNothing, func(e *episode) {
		m := e.follower(e.topic())
		m.kill()
		e.l.goesOn(10)
		m.start()
	}},
	{"kill all", needsNothing, func(e *episode) {
		for _, m := range e.live() {
			m.kill()
		}
		for _, m := range e.live() {
			m.begin()
		}
		for _, m := range e.live() {
			m.s.await("logd takes requests")
		}
	}},
	{"a short stop of the leader", needsNothing, func(e *episode) {
		e.during("SIGSTOP for half an election timeout", e.topic(), func(m *member) {
			m.pause()
			time.Sleep(e.et / 2)
			m.resume()
		})
	}},
	{"a long stop of the leader", needsNothing, func(e *episode) {
		e.during("SIGSTOP", e.topic(), func(m *member) {
			m.pause()
			e.l.goesOn(5)
			m.resume()
		})
	}},
	{"transfers", needsNothing, func(e *episode) {
		for range 5 {
			topic := e.topic()
			e.during("TRANSFER", topic, func(leader *member) {
				to := e.live()[e.r.IntN(len(e.live()))]
				e.command("TRANSFER %s topic=%s", to.name, topic)
			})
		}
	}},
	{"drains", needsNothing, func(e *episode) {
		for _, m := range e.live() {
			e.during("DRAIN", e.topic(), func(*member) { e.command("DRAIN %s", m.name) })
			e.command("DRAIN %s off=1", m.name)
		}
	}},
	{"a rolling restart", needsNothing, func(e *episode) {
		for _, m := range e.live() {
			e.during("restart", e.topic(), func(*member) { m.stop() })
			m.start()
			e.voters(3)
		}
	}},
	{"join and leave", needsNothing, func(e *episode) {
		for range 2 {
			e.place(e.newName()).start()
			e.l.goesOn(5)
		}
		e.voters(5)
		leaving := e.live()[e.r.IntN(5)]
		if e.r.IntN(2) == 0 { // who leads the change is out of the groups before it is done
			leaving = e.named(e.table("GROUPS")[0]["leader"])
		}
		e.remove(leaving, "LEAVE %s force=1", leaving.name)
		e.voters(3)
		for _, m := range e.table("CLUSTER") {
			if m["role"] == "learner" {
				e.remove(e.named(m["name"]), "LEAVE %s force=1", m["name"])
			}
		}
		e.voters(3)
	}},
	{"replace a member that runs", needsNothing, func(e *episode) {
		old := e.live()[e.r.IntN(3)]
		m := e.place(e.newName())
		m.start()
		e.remove(old, "REPLACE %s %s", old.name, m.name)
		e.voters(3)
	}},
	{"a lost disk", needsNothing, func(e *episode) {
		m := e.live()[e.r.IntN(3)]
		old := e.idOf(m.name)
		m.kill()
		e.l.goesOn(5)
		if err := os.RemoveAll(m.dir); err != nil {
			e.t.Fatal(err)
		}
		m.start()
		id := e.newest(m.name, old)
		e.commandUntil(func() bool {
			return !slices.ContainsFunc(e.table("CLUSTER"), func(row map[string]string) bool { return row["member"] == old })
		}, "REPLACE %s %s", old, id)
		e.voters(3)
	}},
	{"kills while catching up", needsNothing, func(e *episode) {
		m := e.follower(e.topic())
		m.kill()
		e.l.goesOn(200)
		for range 3 {
			m.begin()
			time.Sleep(time.Duration(e.r.IntN(200)) * time.Millisecond) // wherever it then is
			m.kill()
		}
		m.start()
	}},
	{"kills of a new member while it catches up", needsNothing, func(e *episode) {
		m := e.place(e.newName())
		m.start()
		for range 3 {
			m.kill()
			m.begin()
			time.Sleep(time.Duration(e.r.IntN(150)) * time.Millisecond)
		}
		m.kill()
		m.start()
		e.eventually("the new member has all", func() bool {
			return slices.ContainsFunc(e.table("CLUSTER"), func(row map[string]string) bool {
				return row["name"] == m.name && row["role"] == "learner" && row["state"] == "up"
			})
		})
		e.remove(m, "LEAVE %s force=1", m.name)
	}},
	{"flipped bits on one that is down", needsNothing, func(e *episode) {
		e.recut = true // what is refilled may be one file where others have two
		m := e.follower(e.topic())
		m.kill()
		flipBits(e.t, m, e.r, e.l.topics)
		m.start()
		e.eventually("all that was damaged is there again", func() bool { return m.whole(e.l.topics) })
	}},
	{"a full disk", needsRoot, func(e *episode) {
		topic := e.topic()
		m, d := e.onDisk(e.follower(topic), "tmpfs")
		e.during("a full disk", topic, func(*member) {
			e.command("TRANSFER %s topic=%s", m.name, topic)
			d.fill()
			e.l.goesOn(20)
		})
		d.empty()
		e.allHaveAll()
	}},
	{"a frozen disk", needsRoot, func(e *episode) {
		topic := e.topic()
		m, d := e.onDisk(e.follower(topic), "ext4")
		e.during("a frozen disk", topic, func(*member) {
			e.command("TRANSFER %s topic=%s", m.name, topic)
			thaw := freeze(e.t, d)
			e.l.goesOn(20)
			thaw()
		})
		e.allHaveAll()
	}},
	{"the leader is cut off", needsCuts, func(e *episode) {
		e.during("the leader is cut off", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cutBoth(leader, m)
			}
			e.cut(0, leader.host, dropAll)
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"the leader is cut off from members only", needsCuts, func(e *episode) {
		e.during("the leader is cut off from members", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cutBoth(leader, m)
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"the leader is not heard", needsCuts, func(e *episode) {
		e.during("the leader is not heard", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cut(leader.host, m.host, dropAll)
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"the leader hears nobody", needsCuts, func(e *episode) {
		e.during("the leader hears nobody", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				e.cut(m.host, leader.host, dropAll)
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
	{"two followers do not hear each other", needsCuts, func(e *episode) {
		leader := e.leader(e.topic())
		var others []*member
		for _, m := range e.live() {
			if m != leader {
				others = append(others, m)
			}
		}
		e.cutBoth(others[0], others[1])
		e.l.goesOn(20)
		e.heal()
	}},
	{"a fifth of all packets is lost", needsCuts, func(e *episode) {
		for _, from := range e.live() {
			for _, to := range e.live() {
				if from != to {
					e.cut(from.host, to.host, dropSome)
				}
			}
		}
		e.l.goesOn(10)
		e.heal()
	}},
	{"connections of the leader are reset", needsCuts, func(e *episode) {
		e.during("connections of the leader are reset", e.topic(), func(leader *member) {
			for _, m := range e.live() {
				if m != leader {
					e.cut(m.host, leader.host, resetThem)
					e.cut(leader.host, m.host, resetThem)
				}
			}
			e.l.goesOn(5)
			e.heal()
		})
	}},
}

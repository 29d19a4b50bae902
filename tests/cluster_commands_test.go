package tests

import (
	"errors"

	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// topicOp is a command about a name of a topic, and what came of it.
type topicOp struct {
	command string // CREATE, DELETE or INFO, with fresh=1
	id      string // DELETE: which one
	answer  string // OK, none, an id, or nothing: it may be done or not
}

// topicState is what a name is of.
type topicState struct {
	there bool
	id    string // empty: of a topic that nobody has seen yet
	gone  string // ids of those that were deleted, each with a space behind it
}

func (s topicState) was(id string) bool { return strings.Contains(s.gone, id+" ") }

// nameModel is the name of a topic as its clients see it: a topic that is made has an id
// that no other had, and one that was deleted does not come back.
var nameModel = porcupine.Model{
	Init: func() any { return topicState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, op := state.(topicState), input.(topicOp)
		deleted := func() topicState { return topicState{gone: s.gone + op.id + " "} }
		switch op.command {
		case "CREATE":
			if !s.there {
				s = topicState{there: true, gone: s.gone}
			}
			return true, s
		case "DELETE":
			is := s.there && (s.id == op.id || s.id == "" && !s.was(op.id))
			switch {
			case op.answer == "": // if it is done it is done when that is needed
				if is {
					return true, deleted()
				}
				return true, s
			case op.answer == "none":
				return !s.there || s.id != op.id, s
			case is:
				return true, deleted()
			}
			return s.was(op.id), s // one that is deleted already
		}
		switch {
		case op.answer == "none":
			return !s.there, s
		case s.there && s.id == "" && !s.was(op.answer):
			s.id = op.answer
			return true, s
		}
		return s.there && s.id == op.answer, s
	},
}

// TestClusterCommands: topics are made, deleted and asked for by several at once while
// leaders are killed. There is an order of all that was done that explains every answer.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	c := newCluster(t, newLoopback(), 3, shortTimeout)
	members := slices.Clone(c.members)
	names := []string{"a", "b"}
	var mu sync.Mutex
	all := make(map[string][]porcupine.Operation)
	begun := time.Now()
	done := make(chan struct{})
	var clients sync.WaitGroup
	for client := range 4 {
		rng := rand.New(rand.NewPCG(uint64(begun.UnixNano()), uint64(client)))
		clients.Go(func() {
			last := make(map[string]string)
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Duration(rng.IntN(10)) * time.Millisecond):
				}
				name, m := names[rng.IntN(len(names))], members[rng.IntN(len(members))]
				op := topicOp{command: []string{"CREATE", "DELETE", "INFO", "INFO"}[rng.IntN(4)], id: last[name]}
				if op.command == "DELETE" && op.id == "" {
					op.command = "INFO"
				}
				line := map[string]string{"CREATE": "CREATE " + name, "DELETE": "DELETE " + name + " now=1 id=" + op.id, "INFO": "INFO " + name + " fresh=1"}[op.command]
				call := time.Since(begun)
				body, err := m.ask("%s", line)
				o := porcupine.Operation{ClientId: client, Call: int64(call), Return: int64(time.Since(begun))}
				var r refusal
				switch errors.As(err, &r); {
				case err == nil && op.command == "INFO":
					op.answer = fields(body)["Id"]
					last[name] = op.answer
				case err == nil:
					op.answer = "OK"
				case r == "not found":
					op.answer = "none"
				case strings.HasPrefix(string(r), "not leader"), op.command == "INFO":
					continue // nothing is done, and nothing told
				default:
					o.Return = math.MaxInt64
				}
				o.Input = op
				mu.Lock()
				all[name] = append(all[name], o)
				mu.Unlock()
			}
		})
	}
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		leader := ""
		for _, g := range c.table("GROUPS") {
			leader = g["leader"]
		}
		for _, m := range c.members {
			if m.name == leader {
				m.kill()
				c.eventually("others lead", func() bool {
					for _, g := range c.table("GROUPS") {
						if g["leader"] == "-" || g["leader"] == leader {
							return false
						}
					}
					return true
				})
				m.start()
			}
		}
		c.voters(3)
	}
	close(done)
	clients.Wait()
	for name, ops := range all {
		ops = ops[:min(len(ops), linearMost)]
		ids := make(map[string]bool)
		for _, o := range ops {
			if op := o.Input.(topicOp); op.command == "INFO" && op.answer != "none" {
				ids[op.answer] = true
			}
		}
		t.Logf("%s: %d operations, %d topics", name, len(ops), len(ids))
		if len(ops) < 50 || len(ids) < 3 {
			t.Errorf("%s: too little has happened: %d operations, %d topics", name, len(ops), len(ids))
		}
		switch porcupine.CheckOperationsTimeout(nameModel, ops, 30*time.Second) {
		case porcupine.Illegal:
			for _, o := range ops {
				t.Logf("%d %v-%v %+v", o.ClientId, time.Duration(o.Call), time.Duration(o.Return), o.Input)
			}
			t.Errorf("%s: no order of the operations explains the answers", name)
		case porcupine.Unknown:
			t.Errorf("%s: it was not found out in time", name)
		}
	}
}

// TestNameModel has histories explained that can be, and others not that can't be.
func TestNameModel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ops  []topicOp // one after another
		good bool
	}{
		"made, deleted, made":   {[]topicOp{{"INFO", "", "none"}, {"CREATE", "", "OK"}, {"CREATE", "", "OK"}, {"INFO", "", "1"}, {"DELETE", "1", "OK"}, {"DELETE", "1", "OK"}, {"INFO", "", "none"}, {"CREATE", "", "OK"}, {"DELETE", "1", "none"}, {"INFO", "", "2"}}, true},
		"perhaps deleted":       {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "1"}, {"DELETE", "1", ""}, {"INFO", "", "none"}}, true},
		"perhaps made":          {[]topicOp{{"CREATE", "", ""}, {"INFO", "", "1"}}, true},
		"gone by itself":        {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "none"}}, false},
		"back again":            {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "1"}, {"DELETE", "1", "OK"}, {"INFO", "", "1"}}, false},
		"two at a time":         {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "1"}, {"INFO", "", "2"}}, false},
		"made by nobody":        {[]topicOp{{"INFO", "", "1"}}, false},
		"deleted, still there":  {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "1"}, {"DELETE", "1", "OK"}, {"CREATE", "", "OK"}, {"INFO", "", "1"}}, false},
		"not found, and there":  {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "1"}, {"DELETE", "1", "none"}}, false},
		"deleted before it was": {[]topicOp{{"CREATE", "", "OK"}, {"INFO", "", "1"}, {"DELETE", "2", "OK"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var ops []porcupine.Operation
			for i, op := range c.ops {
				o := porcupine.Operation{Input: op, Call: int64(10 * i), Return: int64(10*i + 5)}
				if op.answer == "" {
					o.Return = math.MaxInt64
				}
				ops = append(ops, o)
			}
			if got := porcupine.CheckOperations(nameModel, ops); got != c.good {
				t.Errorf("explained %t, want %t", got, c.good)
			}
		})
	}
}

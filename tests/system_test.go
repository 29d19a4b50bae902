package tests

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// systemCase is a case of the system tests. It is given a running server of
// its own and a topic that does not exist yet.
type systemCase struct {
	name   string
	adjust func(*config) // what the case needs other than the configuration has
	run    func(*scene)
}

// cases run under every configuration.
var cases = slices.Concat(commandCases, readCases, waitCases, errorCases, restartCases, shutdownCases, limitCases, httpCases, cliCases)

// expectedFailures says which cases fail under which configurations, and why.
// One that passes all the same is an error: then the table, or the server, is
// wrong.
var expectedFailures = map[string]map[string]string{
	"a message of 60 KB": {
		"tiny batches":    "a message is never split: the largest is bounded by --batch-size",
		"tiny partitions": "a partition holds whole batches, so --batch-size is as small as it",
	},
	"a second topic": {
		"one topic": "--topics 1 is the number of topics that there may be",
	},
	"50000 messages at once": {
		"few of everything": "--max-messages 100 is less",
	},
	"30 connections": {
		"few of everything": "--max-connections 12 is less",
	},
}

func TestSystem(t *testing.T) {
	checkTable(t)
	var ran atomic.Int64
	configs := configs
	if brief() {
		configs = configs[:1]
	}
	for _, cfg := range configs {
		t.Run(cfg.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					ran.Add(1)
					why := expectedFailures[c.name][cfg.name]
					failures := try(t, func(t testing.TB) { c.run(newScene(t, cfg, c.adjust)) })
					if err := judge(failures, why); err != nil {
						t.Error(err)
					} else if why != "" {
						t.Logf("fails as expected (%s):\n%s", why, failures[0])
					}
				})
			}
		})
	}
	if ran.Load() == int64(len(configs)*len(cases)) {
		checkReasons(t)
	}
}

// checkTable sees to it that expectedFailures speaks of what there is.
func checkTable(t *testing.T) {
	t.Helper()
	var caseNames, configNames []string
	for _, c := range cases {
		caseNames = append(caseNames, c.name)
	}
	for _, c := range configs {
		configNames = append(configNames, c.name)
	}
	for name, under := range expectedFailures {
		if !slices.Contains(caseNames, name) {
			t.Errorf("a failure is expected of %q: there is no such case", name)
		}
		for config, why := range under {
			if !slices.Contains(configNames, config) || why == "" {
				t.Errorf("%q is expected to fail under %q (%s): there is no such configuration, or no reason", name, config, why)
			}
		}
	}
}

// scene is what a case has: a server, a connection, and an account of what it
// wrote.
type scene struct {
	testing.TB
	config config
	rand   *rand.Rand
	dir    string
	flags  []string
	server *server
	client *client

	topic  string
	stored []batch // written to topic, in order

	others []string // topics that were there before the case
	before string   // what they hold
}

func newScene(t testing.TB, c config, adjust func(*config)) *scene {
	t.Helper()
	if adjust != nil {
		adjust(&c)
	}
	s := &scene{TB: t, config: c, rand: random(t), dir: filepath.Join(t.TempDir(), "data"), flags: c.flags()}
	s.begin()
	own := s.rand.IntN(c.others + 1)
	for i := range c.others + 1 {
		name := fmt.Sprintf("topic-%d", i)
		if i == own {
			s.topic = name
			continue
		}
		s.client.append(name, "of "+name)
		s.others = append(s.others, name)
	}
	s.before = s.holdings()
	return s
}

// begin starts the server and connects.
func (s *scene) begin(more ...string) {
	s.Helper()
	s.server = start(s, s.dir, append(slices.Clone(s.flags), more...)...)
	s.client = s.dial()
}

// restart ends the server and begins again.
func (s *scene) restart(end func(*server), more ...string) {
	s.Helper()
	s.client.close() // or the server waits a moment for what it may send
	end(s.server)
	s.begin(more...)
}

func (s *scene) dial() *client {
	s.Helper()
	return dial(s, s.server.addr)
}

// holdings returns what the other topics hold.
func (s *scene) holdings() string {
	s.Helper()
	var all strings.Builder
	for _, name := range s.others {
		info := fields(s.client.ask("INFO %s", name))
		fmt.Fprintln(&all, name, info["Oldest"], info["Next"], info["Messages"])
	}
	return all.String()
}

// next is the offset that the next batch gets.
func (s *scene) next() int64 {
	if len(s.stored) == 0 {
		return 0
	}
	return s.stored[len(s.stored)-1].end()
}

// append writes a batch and checks its offset.
func (s *scene) append(bodies ...string) {
	s.Helper()
	offset := s.client.append(s.topic, bodies...)
	if offset != s.next() {
		s.Fatalf("a batch got offset %d, want %d", offset, s.next())
	}
	s.stored = append(s.stored, s.batch(offset, bodies...))
}

// batch is what a batch of the case's topic looks like when it is stored.
func (s *scene) batch(offset int64, bodies ...string) batch {
	s.Helper()
	wire := encode(s.topic, bodies...)
	_, data, _ := strings.Cut(wire, "\r\n")
	messages, err := parseMessages(data)
	if err != nil {
		s.Fatal(err)
	}
	return batch{offset: offset, topic: s.topic, wire: wire, messages: messages}
}

// fill appends n batches of a few messages, each small enough for every
// configuration.
func (s *scene) fill(n int) {
	s.Helper()
	for range n {
		bodies := make([]string, 1+s.rand.IntN(4))
		for i := range bodies {
			b := make([]byte, s.rand.IntN(20))
			for j := range b {
				b[j] = byte(s.rand.IntN(256))
			}
			bodies[i] = string(b)
		}
		s.append(bodies...)
	}
}

// wantBatches returns what a read has to give: from the i-th batch on, as many
// as it takes to reach so many messages, at most so many bytes if there is a
// limit, but always one.
func (s *scene) wantBatches(i int, messages, maxBytes int64) []batch {
	var want []batch
	var bytes int64
	for _, b := range s.stored[i:] {
		bytes += int64(len(b.wire))
		if messages <= 0 || (len(want) > 0 && maxBytes > 0 && bytes > maxBytes) {
			break
		}
		want = append(want, b)
		messages -= int64(len(b.messages))
	}
	return want
}

// same reports the first difference between batches.
func (s *scene) same(what string, got, want []batch) {
	s.Helper()
	if len(got) != len(want) {
		s.Fatalf("%s: %d batches, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i].wire != want[i].wire || got[i].offset != want[i].offset {
			s.Fatalf("%s: batch %d is\n%q at %d, want\n%q at %d", what, i, got[i].wire, got[i].offset, want[i].wire, want[i].offset)
		}
	}
}

// verify checks that the topic holds what the case has written, from the i-th
// batch on, by the counts and by reading it all, and the other topics what they
// held before.
func (s *scene) verify(i int) {
	s.Helper()
	if now := s.holdings(); now != s.before {
		s.Errorf("topics that the case does not write to have changed from\n%s\nto\n%s", s.before, now)
	}
	if len(s.stored) == 0 {
		s.client.refused("not found", "INFO %s\r\n", s.topic)
		return
	}
	kept := s.stored[i:]
	info := fields(s.client.ask("INFO %s", s.topic))
	var messages int
	for _, b := range kept {
		messages += len(b.messages)
	}
	for name, want := range map[string]int64{
		"Oldest": kept[0].offset, "Next": s.next(), "Bytes": s.next() - kept[0].offset,
		"Messages": int64(messages), "Batches": int64(len(kept)), "Damaged": 0,
	} {
		if info[name] != fmt.Sprint(want) {
			s.Errorf("INFO says %s: %s, want %d", name, info[name], want)
		}
	}
	s.same("the whole topic", s.client.all(s.topic, kept[0].offset), kept)
}

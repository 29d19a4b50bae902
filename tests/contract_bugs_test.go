package tests

import (
	"slices"
	"testing"
)

// contractBug is a way in which a cluster may break a promise, and the bugs of this
// package by which it is planted, by their names in seededPlaces and processBugs. The
// tests that have to see them stand there: a simulation of whole members, of a group
// alone, or a test of the one rule where chance breaks it too rarely.
type contractBug struct {
	n       int
	what    string
	seeded  []string // in seededPlaces
	process string   // in processBugs: clients of processes have to see it
	not     string   // why it can't be planted, in the place of seeded
}

var contractBugs = []contractBug{
	{n: 1, what: "a response before the sync", seeded: []string{"what relies on a store is said before that is durable"}, process: "a round says that it is done before its sync"},
	{n: 2, what: "a vote that is not synced", seeded: []string{"a vote is given before it is durable", "a vote is given for which there is no room"}, process: "a vote is given for which there is no room"},
	{n: 3, what: "VOID not synced before a truncation", seeded: []string{"what is void is cut off before that is durable"}},
	{n: 4, what: "a topic file left out of the round", seeded: []string{"a topic is left out of the round"}},
	{n: 5, what: "the member log left out of the round", seeded: []string{"the member log is left out of the round"}, process: "the member log is left out of the round"},
	{n: 6, what: "the readable end is the last index", seeded: []string{"what is written can be read before it is committed"}, process: "what is written can be read before it is committed"},
	{n: 7, what: "an entry of an older term is committed by counting", not: "raft's own rule, in a library that is pinned and has tests of it; no line of ours counts"},
	{n: 8, what: "a tail not cut off before a new append", seeded: []string{"a tail that nobody names stays before what comes then"}},
	{n: 9, what: "a round whose sync failed counts as done", seeded: []string{"a round whose sync has failed counts as done"}},
	{n: 10, what: "damage before S taken for a torn end", seeded: []string{"damage of what was synced is taken for a torn end"}},
	{n: 11, what: "the log kept past a run that failed", seeded: []string{"the log goes on behind a run that is not there"}},
	{n: 12, what: "COMMIT ahead of its entries", seeded: []string{"COMMIT is written ahead of what it speaks of"}},
	{n: 13, what: "the same id after a lost log", seeded: []string{"a member goes on under its id whose log is damaged"}},
	{n: 14, what: "batches taken before the first entry of the term", seeded: []string{"a leader takes requests before an entry of its term is applied"}},
	{n: 15, what: "no producers after an election", seeded: []string{"who is elected knows no numbers"}, process: "who is elected knows no numbers"},
	{n: 16, what: "numbers looked up outside of the order of appends", seeded: []string{"numbers in one group are not known to each other", "a leader does not look numbered batches up"}},
	{n: 17, what: "a gap in the numbers accepted", seeded: []string{"a number that leaves a gap is taken"}, process: "a number that leaves a gap is taken"},
	{n: 18, what: "in doubt answered as an error", seeded: []string{"a lost lead is answered as an error"}, process: "a lost lead is answered as an error"},
	{n: 19, what: "fresh=1 without ReadIndex", seeded: []string{"a leader believes that it leads when it is asked for what is fresh"}, process: "fresh=1 asks nobody"},
	{n: 20, what: "not found beyond the end of a follower", seeded: []string{"a member says that there is nothing beyond its own end"}, process: "a member says that there is nothing beyond its own end"},
	{n: 21, what: "TRIM before it is committed", seeded: []string{"a TRIM is carried out before a start would know of it"}},
	{n: 22, what: "a hook marked before it ran", seeded: []string{"a partition is removed before its hook was run", "partitions do not wait for their hooks"}},
	{n: 23, what: "a table acknowledged before its bytes are synced", seeded: []string{"raft has a table before its bytes are here"}},
	{n: 24, what: "a folder that nothing names removed at a start", seeded: []string{"a start removes what no log names yet"}},
	{n: 25, what: "a failed sync tried again", seeded: []string{"a round that has failed is tried again", "a failed sync is tried again"}},
	{n: 26, what: "a member counted that was removed", seeded: []string{"a member that was removed is counted"}},
	{n: 27, what: "a Scanner goes back to the oldest on not leader", not: "it is of the client, which no simulation has", process: "a Scanner goes back to the oldest batch when nobody leads"},
	{n: 28, what: "a void tail left in a file", seeded: []string{"a tail that is void stays in the file"}},
	{n: 29, what: "a change of members in force before its COMMIT is written", seeded: []string{"a change of members is in force before it is written that it is committed"}},
	{n: 30, what: "a joint configuration left by a leader that is out of it", seeded: []string{"a joint configuration is left by a leader that is out of it"}},
	{n: 31, what: "a removed member stopped before a majority of the new voters know", seeded: []string{"a change of members is done when one knows of it"}},
	{n: 32, what: "what follows S trusted without being written again", seeded: []string{"recovery trusts pages that a failed sync has left", "a journal is gone on with that was not synced"}},
	{n: 33, what: "VOID when a table is taken over", seeded: []string{"the log is void when a table is taken over"}},
	{n: 34, what: "a verdict from a void", seeded: []string{"what is void has its verdict"}},
	{n: 35, what: "out of order while something of that producer is on its way", seeded: []string{"out of order is said while what it speaks of is on its way"}},
	{n: 36, what: "a table taken over without SYNCED first", seeded: []string{"bytes are cut off before it is known that they were synced"}},
	{n: 37, what: "GONE from where the files begin", seeded: []string{"what is missing here is said to be trimmed"}},
	{n: 38, what: "a topic written to that is being deleted", seeded: []string{"a topic is deleted while it is written to"}},
	{n: 39, what: "the configuration of group 0 changed first", seeded: []string{"group 0 changes its members first"}},
	{n: 40, what: "votes behind the bytes of a table", seeded: []string{"votes wait behind the bytes of a table"}},
	{n: 41, what: "a batch behind the leaving of a joint configuration", seeded: []string{"others get what is behind the leaving of a joint configuration"}},
}

// TestContractBugs makes sure that each way to break a promise is planted, or that it is
// said why not.
func TestContractBugs(t *testing.T) {
	t.Parallel()
	var seeded, processes []string
	for _, p := range seededPlaces {
		seeded = append(seeded, bugsOf(p)...)
	}
	for _, b := range processBugs {
		processes = append(processes, b.name)
	}
	for i, b := range contractBugs {
		if b.n != i+1 {
			t.Errorf("%d. is number %d", i+1, b.n)
		}
		if (len(b.seeded) == 0) == (b.not == "") {
			t.Errorf("%d. %s: planted as %q, not because %q", b.n, b.what, b.seeded, b.not)
		}
		for _, name := range b.seeded {
			if !slices.Contains(seeded, name) {
				t.Errorf("%d. %s: there is no bug %q", b.n, b.what, name)
			}
		}
		if b.process != "" && !slices.Contains(processes, b.process) {
			t.Errorf("%d. %s: processes have no bug %q", b.n, b.what, b.process)
		}
	}
	for _, n := range []int{1, 5, 6, 15, 18, 19, 20, 27} {
		if contractBugs[n-1].process == "" {
			t.Errorf("%d. %s: clients of processes do not have to see it", n, contractBugs[n-1].what)
		}
	}
}

package entry

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file anew")

func sampleTable() *Table {
	return &Table{
		Index: 90, Term: 4, Change: 80, NextTopic: 12,
		Conf: Conf{Voters: []uint64{1, 2, 4}, Learners: []uint64{5}, Outgoing: []uint64{1, 2, 3}, Next: []uint64{3}, AutoLeave: true},
		Topics: []Topic{
			{Number: 3, ID: ID{1, 2, 3}, Name: "orders", Time: 1_700_000_000_000, Oldest: 100, End: 1000},
			{Number: 11, ID: ID{0xff}, Name: "a", End: 0},
		},
		MembersAt:  85,
		NextMember: 6,
		Members: []Member{
			{ID: 1, Role: Voter, Name: "a", Addr: "10.0.0.1:1776", PeerAddr: "10.0.0.1:1777"},
			{ID: 5, Role: Learner, Name: "b-2", Addr: "[::1]:1", PeerAddr: "b:2"},
		},
		Settings: []Setting{{"partitions", "7"}, {"retention-age", ""}},
		Leaders:  []Leader{{0, 1}, {7, 5}},
	}
}

// samples are valid entries of every type, by name.
func samples() (names []string, entries []Data) {
	add := func(name string, d Data) { names, entries = append(names, name), append(entries, d) }
	run := Run{Topic: 7, Offset: 1 << 40, Bytes: 113, Batches: 2, Messages: 5, CRC: 0xdeadbeef, Time: 1_700_000_000_000}
	rolled := run
	rolled.Offset, rolled.Roll = run.End(), true
	add("round", &Round{[]Run{run}})
	add("round-roll", &Round{[]Run{run, rolled}})
	add("round-large-batch", &Round{[]Run{{Bytes: 1 << 30, Batches: 1}}})
	add("create", Create{Topic: 8, ID: ID{1, 2, 3, 15: 16}, Name: "orders", Time: 1_700_000_000_001})
	add("delete", Delete{Topic: 8})
	add("delete-now", Delete{Topic: 8, Now: true})
	add("trim", Trim{Topic: 8, Offset: 1 << 33})
	add("roll", Roll{Topic: 8, Offset: 1 << 34})
	add("members", Members{sampleTable().Members})
	add("setting", Setting{"retention-age", "24h"})
	add("leader", Leader{Group: 7, Member: 3})
	return names, entries
}

// What was encoded once is decoded for ever, and encoded the same.
func TestGolden(t *testing.T) {
	names, entries := samples()
	names = append(names, "table", "table-empty")
	encoded := make(map[string][]byte)
	for i, d := range entries {
		encoded[names[i]] = Append(nil, d)
	}
	empty := &Table{Group: 3}
	encoded["table"], encoded["table-empty"] = sampleTable().Encode(), empty.Encode()
	const file = "testdata/version1"
	if *update {
		var b strings.Builder
		for _, name := range names {
			fmt.Fprintf(&b, "%s %x\n", name, encoded[name])
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(golden)), "\n")
	if len(lines) != len(names) {
		t.Fatalf("%d lines, want %d", len(lines), len(names))
	}
	for i, line := range lines {
		name, digits, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(digits)
		if err != nil || name != names[i] {
			t.Fatalf("line %d: %s, %v", i+1, name, err)
		}
		if !bytes.Equal(b, encoded[name]) {
			t.Errorf("%s encodes as\n%x, not as\n%x", name, encoded[name], b)
		}
		if i < len(entries) {
			if d, err := Decode(b); err != nil || !reflect.DeepEqual(d, entries[i]) {
				t.Errorf("%s decodes as %+v, %v", name, d, err)
			}
		}
	}
	for name, want := range map[string]*Table{"table": sampleTable(), "table-empty": empty} {
		if got, err := DecodeTable(encoded[name]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s decodes as %+v, %v", name, got, err)
		}
	}
}

// What is cut short, goes on, or is over a limit is invalid.
func TestDecodeInvalid(t *testing.T) {
	names, entries := samples()
	for i, d := range entries {
		b := Append(nil, d)
		for n := range b {
			if d, err := Decode(b[:n]); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, %d of %d bytes: %+v, %v", names[i], n, len(b), d, err)
			}
		}
		if d, err := Decode(append(b, 0)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s and a byte: %+v, %v", names[i], d, err)
		}
	}
	many := &Round{Runs: make([]Run, MaxRuns+1)}
	for i := range many.Runs {
		many.Runs[i] = Run{Bytes: 1, Batches: 1}
	}
	long := strings.Repeat("x", 1<<15+1)
	for name, d := range map[string]Data{
		"no run":               &Round{},
		"too many runs":        many,
		"too many bytes":       &Round{[]Run{{Bytes: MaxRoundBytes, Batches: 1}, {Topic: 1, Bytes: 1, Batches: 1}}},
		"no bytes":             &Round{[]Run{{Batches: 1}}},
		"no batch":             &Round{[]Run{{Bytes: 1}}},
		"offset below 0":       &Round{[]Run{{Offset: -1, Bytes: 1, Batches: 1}}},
		"offset too high":      &Round{[]Run{{Offset: 1<<63 - 1, Bytes: 1, Batches: 1}}},
		"time below 0":         &Round{[]Run{{Bytes: 1, Batches: 1, Time: -1}}},
		"name of a topic":      Create{Name: ".new"},
		"no name":              Create{},
		"trim below 0":         Trim{Offset: -1},
		"roll below 0":         Roll{Offset: -1},
		"no members":           Members{},
		"member without id":    Members{[]Member{{Role: Voter, Name: "a", Addr: "a:1", PeerAddr: "a:2"}}},
		"member twice":         Members{[]Member{{1, Voter, "a", "a:1", "a:2"}, {1, Gone, "a", "a:1", "a:2"}}},
		"role":                 Members{[]Member{{1, Gone + 1, "a", "a:1", "a:2"}}},
		"address with a space": Members{[]Member{{1, Voter, "a", "a 1", "a:2"}}},
		"too many members":     Members{make([]Member, MaxMembers+1)},
		"no key":               Setting{},
		"long value":           Setting{"k", long},
		"long key":             Setting{long[:MaxKey+1], ""},
	} {
		if got, err := Decode(d.append(nil)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if !panics(func() { Append(nil, d) }) {
			t.Errorf("%s was encoded", name)
		}
	}
	if d, err := Decode([]byte{9, 1, 2, 3}); !errors.Is(err, ErrNewer) {
		t.Errorf("type 9: %+v, %v", d, err)
	}
	for _, b := range [][]byte{nil, {0}, make([]byte, 10), bytes.Repeat([]byte{9}, MaxLen+1)} {
		if d, err := Decode(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.10x: %+v, %v", b, d, err)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// seal gives a table that was changed a checksum that fits.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	return b
}

// A table with any bit flipped, or cut short, is invalid; a newer one is not; and
// one that is sealed but says what cannot be is invalid, too.
func TestTableInvalid(t *testing.T) {
	whole := sampleTable().Encode()
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if got, err := DecodeTable(b); !errors.Is(err, ErrInvalid) {
				t.Errorf("bit %d of byte %d: %+v, %v", bit, i, got, err)
			}
		}
		if got, err := DecodeTable(whole[:i]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d bytes: %+v, %v", i, got, err)
		}
	}
	newer := bytes.Clone(whole)
	newer[8] = 2
	if got, err := DecodeTable(seal(newer)); !errors.Is(err, ErrNewer) {
		t.Errorf("version 2: %+v, %v", got, err)
	}
	for name, change := range map[string]func(*Table){
		"topics out of order":  func(p *Table) { p.Topics[0], p.Topics[1] = p.Topics[1], p.Topics[0] },
		"a topic twice":        func(p *Table) { p.Topics[1].Number = 3 },
		"a number to come":     func(p *Table) { p.NextTopic = 11 },
		"oldest beyond end":    func(p *Table) { p.Topics[0].Oldest = 1001 },
		"name of a topic":      func(p *Table) { p.Topics[0].Name = "a/b" },
		"members out of order": func(p *Table) { p.Members[0].ID = 5 },
		"a member to come":     func(p *Table) { p.NextMember = 5 },
		"a setting twice":      func(p *Table) { p.Settings[0].Key = "retention-age" },
		"a leader twice":       func(p *Table) { p.Leaders[0].Group = 7 },
		"a voter twice":        func(p *Table) { p.Conf.Voters[0] = 2 },
		"voter 0":              func(p *Table) { p.Conf.Voters[0] = 0 },
		"members in group 1":   func(p *Table) { p.Group = 1 },
	} {
		bad := sampleTable()
		change(bad)
		if !panics(func() { bad.Encode() }) {
			t.Errorf("%s: encoded", name)
		}
	}
	for i := 8; i < len(whole)-4; i++ { // never a panic, nor memory beyond what is there
		b := bytes.Clone(whole)
		b[i] ^= 0xff
		if got, err := DecodeTable(seal(b)); err == nil && !bytes.Equal(got.Encode(), b) {
			t.Errorf("byte %d: decodes as %+v, which encodes differently", i, got)
		}
	}
}

// FuzzEntry decodes any bytes: what decodes encodes to the same bytes.
func FuzzEntry(f *testing.F) {
	_, entries := samples()
	for _, d := range entries {
		f.Add(Append(nil, d))
	}
	f.Add([]byte{typeRound, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Decode(b)
		if err != nil {
			return
		}
		if again := Append(nil, d); !bytes.Equal(again, b) {
			t.Fatalf("%+v encodes as %x, not as %x", d, again, b)
		}
	})
}

// FuzzTable is FuzzEntry for tables, whose checksum it mends.
func FuzzTable(f *testing.F) {
	f.Add(sampleTable().Encode())
	f.Add((&Table{Group: 3}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		b = seal(bytes.Clone(b))
		table, err := DecodeTable(b)
		if err != nil {
			return
		}
		if again := table.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%+v encodes as %x, not as %x", table, again, b)
		}
	})
}

package grouplog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

var update = flag.Bool("update", false, "write the golden file anew")

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setting returns an entry of group 0 with data.
func setting(index, term uint64, value string) Record {
	return Record{Kind: Entry, Index: index, Term: term, Data: entry.Append(nil, entry.Setting{Key: "k", Value: value})}
}

// sample is a member with a log that has every kind of record, in its beginning
// and behind. tail is how many bytes at its end are not known to be synced.
func sample(t *testing.T) (disk *vfstest.FS, l *Log, tail int) {
	t.Helper()
	disk = vfstest.New()
	var tables []*entry.Table
	for g := range groups {
		tables = append(tables, &entry.Table{Group: uint16(g), Index: 1, Term: 1, Conf: entry.Conf{Voters: []uint64{7}}})
	}
	l, err := Create(disk, testMember, 1, tables)
	check(t, err)
	check(t, l.Append(Record{Kind: Hard, Term: 3, Vote: 2}, setting(2, 2, "a"), setting(3, 3, "b"), setting(4, 3, "void"),
		Record{Kind: Entry, Group: 2, Index: 2, Term: 1, Type: 2, Data: []byte("a change")}))
	check(t, l.Append(Record{Kind: Void, Index: 4}, setting(4, 3, "d"), Record{Kind: Entry, Index: 5, Term: 3}))
	sync(t, l)
	check(t, l.Append(Record{Kind: Commit, Index: 3}))
	table, err := l.WriteTable(&entry.Table{Index: 2, Term: 2, Conf: entry.Conf{Voters: []uint64{7, 8}}})
	check(t, err)
	check(t, l.Append(table))
	sync(t, l)
	check(t, l.Roll())
	check(t, l.Append(setting(6, 3, "e"), Record{Kind: Commit, Index: 5}, Record{Kind: Void, Index: 6}, setting(6, 3, "f")))
	table, err = l.WriteTable(&entry.Table{Group: 1, Index: 9, Term: 1})
	check(t, err)
	sync(t, l)
	check(t, l.Append(table, Record{Kind: Synced}))
	end := l.size
	check(t, l.Append(setting(7, 3, "g"), Record{Kind: Hard, Group: 1, Term: 2, Vote: 1}))
	return disk, l, l.size - end + 2*recordHeader + 20 // and the records that say it
}

func sync(t *testing.T, l *Log) {
	t.Helper()
	pos := l.End()
	check(t, l.File().Sync())
	check(t, l.Durable(pos))
}

const sampleSays = `term 3 vote 2 commit 5 table 2@2: 3@3/dffea2ea 4@3/369d07df 5@3/0 6@3/d89366f3 7@3/af945665
term 2 vote 1 commit 9 table 9@1:
term 1 vote 0 commit 1 table 1@1: 2@1/474b1953`

// What was written once is read for ever, and written the same.
func TestGolden(t *testing.T) {
	disk, _, _ := sample(t)
	var b strings.Builder
	for _, name := range disk.Names() {
		if !strings.HasSuffix(name, "/") {
			content, err := disk.ReadFile(name)
			check(t, err)
			fmt.Fprintf(&b, "%s %x\n", name, content)
		}
	}
	const file = "testdata/version1"
	if *update {
		check(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	golden, err := os.ReadFile(file)
	check(t, err)
	if string(golden) != b.String() {
		t.Errorf("written:\n%s\nwant:\n%s", b.String(), golden)
	}
	old := vfstest.New()
	for line := range strings.Lines(string(golden)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		content, err := hex.DecodeString(digits)
		check(t, err)
		check(t, old.WriteFile(name, content))
	}
	r, err := Open(old)
	check(t, err)
	if w := worldOf(r.Groups); w.text() != sampleSays || r.Member != testMember || r.Boot != 1 || r.Clean || r.Cut != 0 {
		t.Errorf("read %+v:\n%s", r.Member, w.text())
	}
	if c := r.Tables[0].Conf.Voters; len(c) != 2 || r.Tables[1].Index != 9 || r.Tables[2].Index != 1 {
		t.Errorf("tables %+v", r.Tables)
	}
	if e := r.Groups[0].Entries; e[3].At >= r.Synced || e[4].At < r.Synced {
		t.Errorf("synced up to %v: entries %+v", r.Synced, e)
	}
}

// A log that was closed is clean, and goes on in a file of its own, alone with the
// tables that it names.
func TestCloseAndStart(t *testing.T) {
	disk, l, _ := sample(t)
	sync(t, l)
	before := l.Synced()
	check(t, l.Close())
	for _, boot := range []uint64{5, 6} {
		r, err := Open(disk)
		check(t, err)
		w := worldOf(r.Groups)
		if w.text() != sampleSays || r.Clean != (boot == 5) {
			t.Errorf("clean %v:\n%s", r.Clean, w.text())
		}
		if l, err = r.Start(boot); err != nil {
			t.Fatal(err)
		}
		if l.Synced() <= before || l.Synced() != l.End() {
			t.Errorf("synced %v, end %v, before %v", l.Synced(), l.End(), before)
		}
		before = l.Synced()
		check(t, l.Append(Record{Kind: Synced})) // what Synced does not tell of is no clean end
		check(t, l.Close())
		if r, err := Open(disk); err != nil || r.Clean || r.Boot != boot {
			t.Errorf("clean %v, boot %d, %v", r.Clean, r.Boot, err)
		}
	}
	var files []string
	for _, name := range disk.Names() {
		if strings.HasPrefix(name, Dir+"/") && !strings.HasSuffix(name, "/") {
			files = append(files, name[len(Dir)+1:])
		}
	}
	if got := strings.Join(files, " "); !strings.HasPrefix(got, "log/4 member table-0-2-") || len(files) != 5 {
		t.Errorf("files %s", got)
	}
	if err := l.Append(Record{Kind: Synced}); !errors.Is(err, ErrFailed) {
		t.Errorf("append to a closed log: %v", err)
	}
}

// Any byte that changes before S is damage, wherever it is; from S on the log
// ends there. So it is with every length.
func TestEveryByte(t *testing.T) {
	disk, l, tail := sample(t)
	name := logDir + "/" + "2"
	whole, err := disk.ReadFile(name)
	check(t, err)
	s := len(whole) - tail
	if int(l.Synced().offset()) != s {
		t.Fatalf("synced up to %v, want %d", l.Synced(), s)
	}
	try := func(what string, at int, b []byte) {
		t.Helper()
		check(t, disk.WriteFile(name, b))
		r, err := Open(disk)
		switch {
		case at < s:
			if d, ok := errors.AsType[*DamageError](err); !ok || !errors.Is(err, ErrDamaged) || d.File != name || d.Offset > int64(at) {
				t.Errorf("%s at %d, before S at %d: %v", what, at, s, err)
			}
		case err != nil || r.Cut != int64(len(b))-r.end(t, whole, at):
			t.Errorf("%s at %d, behind S at %d: cut %d, %v", what, at, s, r.Cut, err)
		}
	}
	for at := range whole {
		for _, x := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[at] ^= x
			try("byte changed", at, b)
		}
	}
	// A file that ends early takes the records with it that tell of it: only its
	// beginning is known to have been there.
	begun := l.begun
	for at := range whole {
		check(t, disk.WriteFile(name, whole[:at]))
		_, err := Open(disk)
		if damaged := errors.Is(err, ErrDamaged); damaged != (at < begun) || !damaged && err != nil {
			t.Errorf("%d bytes, of which it began with %d: %v", at, begun, err)
		}
	}
	for at := s; at <= len(whole); at++ {
		zeros := append(bytes.Clone(whole[:at]), make([]byte, 1000)...)
		differs := at
		for differs < len(whole) && whole[differs] == 0 {
			differs++
		}
		try("zeros from there on", differs, zeros)
	}
}

// end returns where the last record begins that is whole before a position.
func (r *Recovery) end(t *testing.T, whole []byte, at int) int64 {
	t.Helper()
	pos := headerLen
	for pos < len(whole) {
		n := checkRecord(makePos(2, pos), whole[pos:])
		if pos+n > at {
			break
		}
		pos += n
	}
	return int64(pos)
}

// A record is one only where it was written. The control is the same record, sealed
// for the place.
func TestRecordElsewhere(t *testing.T) {
	disk, _, _ := sample(t)
	name := logDir + "/2"
	whole, err := disk.ReadFile(name)
	check(t, err)
	vote := appendRecord(nil, makePos(1, len(whole)), 0, &Record{Kind: Hard, Term: 9, Vote: 9})
	for what, number := range map[string]uint32{"another file's": 1, "the file's own": 2} {
		at := makePos(number, len(whole))
		binary.LittleEndian.PutUint32(vote, checksum(at, vote))
		check(t, disk.WriteFile(name, append(bytes.Clone(whole), vote...)))
		r, err := Open(disk)
		check(t, err)
		if found := r.Groups[0].Vote == 9; found != (number == 2) || (r.Cut > 0) != (number == 1) {
			t.Errorf("%s: found %v, cut %d", what, found, r.Cut)
		}
	}
	at := makePos(2, len(whole)+8)
	binary.LittleEndian.PutUint32(vote, checksum(at, vote))
	check(t, disk.WriteFile(name, append(bytes.Clone(whole), vote...)))
	if r, err := Open(disk); err != nil || r.Groups[0].Vote == 9 {
		t.Errorf("another place's record was taken: %v", err)
	}
}

// What a newer version writes is not damage, wherever it stands, and what no version
// writes is.
func TestNewerAndImpossible(t *testing.T) {
	disk, _, _ := sample(t)
	name := logDir + "/2"
	whole, err := disk.ReadFile(name)
	check(t, err)
	newer := func(r Record) { r.test(t, disk, name, whole, ErrNewer) }
	newer(Record{Kind: Clean + 1})
	newer(Record{Kind: 255})
	newer(Record{Kind: Entry, Index: 8, Term: 3, Type: 3})
	newer(Record{Kind: Entry, Index: 8, Term: 3, Data: []byte{200, 1}})
	for _, r := range []Record{
		{Kind: Entry, Index: 8, Term: 3, Data: []byte{1}},
		{Kind: Entry, Index: 9, Term: 3},
		{Kind: Entry, Index: 7, Term: 3},
		{Kind: Entry, Index: 8, Term: 2},
		{Kind: Entry, Index: 8, Term: 4},
		{Kind: Entry, Group: groups, Index: 1, Term: 1},
		{Kind: Hard, Term: 2, Vote: 2},
		{Kind: Hard, Term: 3, Vote: 1},
		{Kind: Void, Index: 5},
		{Kind: Void, Index: 8},
		{Kind: Commit, Index: 7},
		{Kind: Commit, Index: 8},
		{Kind: Table, Index: 2, Term: 3},
		{Kind: Table, Index: 7, Term: 3},
		{Kind: Table, Index: 4, Term: 2},
		{Kind: Table, Index: 9, Term: 4},
	} {
		r.test(t, disk, name, whole, ErrDamaged)
	}
	h := header{number: 2, member: 7, boot: 1}
	for what, b := range map[string][]byte{
		"another number": header{number: 3, member: 7}.append(nil),
		"another member": header{number: 2, member: 8}.append(nil),
		"a header alone": h.append(nil),
	} {
		check(t, disk.WriteFile(name, append(b, whole[headerLen:]...)))
		if what == "a header alone" {
			check(t, disk.WriteFile(name, b))
		}
		if _, err := Open(disk); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	b := h.append(nil)
	b[8]++
	binary.LittleEndian.PutUint32(b[40:], crc32.Checksum(b[:40], castagnoli))
	check(t, disk.WriteFile(name, append(b, whole[headerLen:]...)))
	if _, err := Open(disk); !errors.Is(err, ErrNewer) {
		t.Errorf("version 2: %v", err)
	}
}

// test appends the record to the file and expects an error.
func (r *Record) test(t *testing.T, disk *vfstest.FS, name string, whole []byte, want error) {
	t.Helper()
	at := makePos(2, len(whole))
	check(t, disk.WriteFile(name, appendRecord(bytes.Clone(whole), at, at-100, r)))
	if _, err := Open(disk); !errors.Is(err, want) {
		t.Errorf("%+v: %v", *r, err)
	}
}

// Nothing of what no correct caller appends is written.
func TestMisuse(t *testing.T) {
	disk, l, _ := sample(t)
	before := disk.Ops()
	for _, r := range []Record{
		{Kind: Entry, Index: 9, Term: 3},
		{Kind: Entry, Index: 8, Term: 4},
		{Kind: Entry, Index: 8, Term: 3, Type: 3},
		{Kind: Entry, Index: 8, Term: 3, Data: make([]byte, MaxData+1)},
		{Kind: Hard, Term: 3, Vote: 1},
		{Kind: Void, Index: 5},
		{Kind: Commit, Index: 7},
		{Kind: Table, Index: 20, Term: 3},
		{Kind: Clean},
		{Kind: 0},
		{Kind: Synced, Group: groups},
		{Kind: Synced, Group: -1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was appended", r)
				}
			}()
			l.Append(r)
		}()
	}
	r, err := Open(disk)
	check(t, err)
	for what, f := range map[string]func(){
		"an end of what was synced":            func() { r.End(0, 6) },
		"an end of what is not there":          func() { r.End(0, 8) },
		"a table of no group":                  func() { l.WriteTable(&entry.Table{Group: groups, Index: 1}) },
		"a roll while something is not synced": func() { l.Roll() },
		"synced behind the end":                func() { l.Durable(l.End() + 1) },
		"no member":                            func() { Create(disk, Member{ID: 1, Name: "a b", Groups: 1}, 0, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error(what)
				}
			}()
			f()
		}()
	}
	if disk.Ops() != before {
		t.Error("something was written")
	}
}

// The position of a log goes up by what is appended and by nothing else: neither by
// new files nor by starts, behind which an older state could hide.
func TestPosition(t *testing.T) {
	disk, l, _ := sample(t)
	sync(t, l)
	l.grow = 1
	want := l.Position()
	expect := func() {
		t.Helper()
		if got := l.Position(); got != want {
			t.Fatalf("position %d, want %d", got, want)
		}
	}
	for range 3 {
		check(t, l.Append(Record{Kind: Synced}))
		expect() // it is not synced
		sync(t, l)
		want += recordHeader
		expect()
		check(t, l.Roll())
		expect()
		check(t, l.Append(Record{Kind: Synced})) // is there, and was not known to be synced
		check(t, l.File().Close())
		r, err := Open(disk)
		check(t, err)
		l, err = r.Start(2)
		check(t, err)
		want += recordHeader
		expect()
	}
	check(t, l.Close())
	r, err := Open(disk)
	check(t, err)
	l, err = r.Start(2)
	check(t, err)
	want += recordHeader // CLEAN
	expect()
}

// To append takes no memory but for the entries.
func TestAppendAllocs(t *testing.T) {
	dir := t.TempDir()
	disk, err := vfs.OpenOS(dir, 0o700)
	check(t, err)
	defer disk.Close()
	l, err := Create(disk, testMember, 1, nil)
	check(t, err)
	check(t, l.Append(Record{Kind: Hard, Term: 1}))
	l.groups[0].Entries = make([]LogEntry, 0, 2000)
	data := setting(1, 1, "x").Data
	index := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		index++
		check(t, l.Append(Record{Kind: Entry, Index: index, Term: 1, Data: data}))
	}); n != 0 {
		t.Errorf("%v allocations for an entry", n)
	}
	check(t, l.Close())
}

// A table that the log needs and that is not as it was is damage; one that nothing
// needs is removed at a start.
func TestTables(t *testing.T) {
	disk, _, _ := sample(t)
	r, err := Open(disk)
	check(t, err)
	name := Dir + "/" + tableName(1, r.Groups[1].Table)
	whole, err := disk.ReadFile(name)
	check(t, err)
	other := (&entry.Table{Group: 1, Index: 9, Term: 1, NextTopic: 1}).Encode()
	newer := bytes.Clone(whole)
	newer[8]++
	binary.LittleEndian.PutUint32(newer[len(newer)-4:], crc32.Checksum(newer[:len(newer)-4], castagnoli))
	for what, test := range map[string]struct {
		b    []byte
		want error
	}{
		"flipped": {append([]byte{whole[0] ^ 1}, whole[1:]...), ErrDamaged},
		"empty":   {nil, ErrDamaged},
		"another": {other, ErrDamaged},
		"newer":   {newer, ErrNewer},
		"whole":   {whole, nil},
	} {
		check(t, disk.WriteFile(name, test.b))
		if _, err := Open(disk); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check(t, disk.WriteFile(name, whole))
	for _, stray := range []string{"/table-0-1-00000000", "/table-1-9-00000000.new", "/log/1", "/log/7.new", "/member.new"} {
		check(t, disk.WriteFile(Dir+stray, []byte("x")))
	}
	check(t, disk.WriteFile(Dir+"/log/x", nil))
	r, err = Open(disk)
	check(t, err)
	_, err = r.Start(2)
	check(t, err)
	if got := strings.Join(disk.Names(), " "); strings.Count(got, "table-") != groups || strings.Contains(got, ".new") || !strings.Contains(got, "log/3") || !strings.Contains(got, "log/x") {
		t.Errorf("files %s", got)
	}
	check(t, disk.Remove(name))
	if _, err := Open(disk); !errors.Is(err, ErrDamaged) {
		t.Errorf("missing: %v", err)
	}
	check(t, disk.Remove(logDir+"/3"))
	if _, err := Open(disk); !errors.Is(err, ErrDamaged) {
		t.Errorf("no log: %v", err)
	}
	check(t, disk.Remove(memberFile))
	if _, err := Open(disk); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		t.Errorf("no member: %v", err)
	}
}

// A file is begun when the last has grown by its size, or by what it began with.
func TestFull(t *testing.T) {
	_, l, _ := sample(t)
	l.grow = 500
	fill := func() (n int) {
		for ; !l.Full(); n++ {
			check(t, l.Append(setting(l.groups[0].Last()+1, 3, strings.Repeat("x", 100))))
		}
		sync(t, l)
		check(t, l.Roll())
		return n
	}
	fill()
	for range 5 {
		begun := l.begun
		n := fill()
		if grown := n * (recordHeader + entryHeader + 1 + 2 + 2 + 100); grown < max(500, begun) || grown > max(500, begun)+200 {
			t.Errorf("began with %d, and grew by %d", begun, grown)
		}
		if got, want := l.Bytes(0), int64(0); got <= want || got > int64(l.begun) {
			t.Errorf("%d bytes of a file of %d", got, l.begun)
		}
	}
}

func TestMember(t *testing.T) {
	line := testMember.encode()
	if want := "logd-member 1 ab000000000000000000000000000001 7 a 3 c9fc6242\n"; string(line) != want {
		t.Errorf("line %q, want %q", line, want)
	}
	if m, err := decodeMember(line); m != testMember || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
	for i := range line {
		for bit := range 8 {
			b := bytes.Clone(line)
			b[i] ^= 1 << bit
			if m, err := decodeMember(b); !errors.Is(err, ErrDamaged) {
				t.Errorf("bit %d of byte %d: %+v, %v", bit, i, m, err)
			}
		}
		if m, err := decodeMember(line[:i]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %+v, %v", i, m, err)
		}
	}
	const id = "ab000000000000000000000000000001"
	for text, want := range map[string]error{
		"logd-member 2 whatever comes ":            ErrNewer,
		"logd-member 0 " + id + " 7 a 3 ":          ErrDamaged,
		"logd-member 1 " + id + " 0 a 3 ":          ErrDamaged,
		"logd-member 1 " + id + " 07 a 3 ":         ErrDamaged,
		"logd-member 1 " + id + " 7 a/b 3 ":        ErrDamaged,
		"logd-member 1 " + id + " 7 a 65 ":         ErrDamaged,
		"logd-member 1 " + id[:30] + " 7 a 3 ":     ErrDamaged,
		"logd-member 1 " + id + "00 7 a 3 ":        ErrDamaged,
		"logd-member 1 " + id + " 7 a 3 something": ErrDamaged,
		"logd-other 1 " + id + " 7 a 3 ":           ErrDamaged,
	} {
		sealed := fmt.Appendf(nil, "%s%08x\n", text, crc32.Checksum([]byte(text), castagnoli))
		if m, err := decodeMember(sealed); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v", sealed, m, err)
		}
	}
	disk := vfstest.New()
	check(t, disk.WriteFile(memberFile, make([]byte, maxMemberLen+1)))
	if _, err := ReadMember(disk); !errors.Is(err, ErrDamaged) {
		t.Errorf("a long file: %v", err)
	}
}

// What is there under another name is overwritten, and a member is made anew in
// place of one that lost its log.
func TestCreateAgain(t *testing.T) {
	disk, l, _ := sample(t)
	check(t, l.File().Close())
	m := testMember
	m.ID = 8
	l, err := Create(disk, m, 3, nil)
	check(t, err)
	check(t, l.Append(Record{Kind: Hard, Term: 1, Vote: 1}))
	r, err := Open(disk)
	check(t, err)
	if w := worldOf(r.Groups); r.Member.ID != 8 || w.text() != "term 1 vote 1 commit 0 table 0@0:\nterm 0 vote 0 commit 0 table 0@0:\nterm 0 vote 0 commit 0 table 0@0:" {
		t.Errorf("%+v:\n%s", r.Member, w.text())
	}
	check(t, disk.WriteFile(memberFile, testMember.encode()))
	if _, err := Open(disk); !errors.Is(err, ErrDamaged) {
		t.Errorf("another member's log: %v", err)
	}
}

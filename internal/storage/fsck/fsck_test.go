package fsck

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// What becomes of logs that a store has written is tested there, beside what
// recovery makes of them.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wireOf(topic string, bodies ...string) string {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return string(b.Finish(topic))
}

func check(t testing.TB, disk *vfstest.FS) ([]Finding, CheckReport) {
	t.Helper()
	var found []Finding
	r, err := Check(context.Background(), CheckOptions{FS: disk}, func(f Finding) { found = append(found, f) })
	must(t, err)
	return found, r
}

func repair(t testing.TB, disk *vfstest.FS) RepairReport {
	t.Helper()
	r, err := Repair(context.Background(), RepairOptions{FS: disk}, func(Action) {})
	must(t, err)
	return r
}

// write writes the files of topic "t" with one partition of the given bytes,
// whose index has an entry for its beginning.
func write(t testing.TB, log string) *vfstest.FS {
	t.Helper()
	disk := vfstest.New()
	must(t, disk.Mkdir("t", 0o700))
	state := journal.NewState()
	state.ID, state.Created = journal.NewID(), 1
	must(t, disk.WriteFile(layout.JournalFile("t"), state.Encode()))
	must(t, disk.WriteFile(layout.Partition("t", 0), []byte(log)))
	c := &files.Cache{FS: disk, Perm: 0o600}
	ix := index.New(c.File(layout.Index("t", 0)), state.ID, 0)
	must(t, ix.Add(index.Entry{Millis: 1}))
	must(t, ix.Settle())
	return disk
}

// A log whose batches are all valid has nothing to say of, and a server goes on
// behind them; or behind those before a torn tail.
func TestCheckWithoutAStore(t *testing.T) {
	whole := wireOf("t", "one", "two") + wireOf("t", "three")
	for name, test := range map[string]struct {
		log, kinds string
	}{
		"whole":                    {whole, ""},
		"torn":                     {whole + "BATCH 1", "torn-tail"},
		"with a batch of another":  {whole + wireOf("u", "four"), "batch"},
		"with another in between":  {whole + wireOf("u", "four") + whole, "batch"},
		"nothing but what is torn": {"BATCH 1", "torn-tail index"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := write(t, test.log)
			found, r := check(t, disk)
			var kinds []string
			for _, f := range found {
				kinds = append(kinds, string(f.Kind))
			}
			if got := strings.Join(kinds, " "); got != test.kinds {
				t.Errorf("found %+v", found)
			}
			want := int64(len(test.log))
			if strings.HasPrefix(test.kinds, "torn-tail") {
				want -= int64(len("BATCH 1"))
			}
			if r.Next["t"] != want {
				t.Errorf("the log goes on at %d, want %d", r.Next["t"], want)
			}
			if r := repair(t, disk); r.Failed != nil {
				t.Fatal(r.Failed)
			}
			if found, r := check(t, disk); r.Damages > 0 || r.Next["t"] != want {
				t.Errorf("after the repair the log goes on at %d, want %d; found %+v", r.Next["t"], want, found)
			}
		})
	}
}

func TestWhyDamaged(t *testing.T) {
	whole, large := wireOf("t", "body"), wireOf("t", strings.Repeat("x", 1000))
	for name, test := range map[string]struct{ file, want string }{
		"cut short in its envelope": {whole[:8], "a batch that is cut short"},
		"cut short":                 {large[:500], "of which 500 are there"},
		"zeros":                     {strings.Repeat("\x00", 200), "zeros"},
		"junk":                      {strings.Repeat("junk", 50), "no batch begins here"},
		"another topic":             {wireOf("u", "body"), `a batch of topic "u"`},
		"a flipped bit":             {strings.Replace(whole, "body", "bodz", 1), "checksum is"},
		"valid":                     {whole, "a valid batch inside"},
	} {
		sc := &scan.Scanner{File: strings.NewReader(test.file), Size: int64(len(test.file)), Topic: "t"}
		if why, err := whyDamaged(sc, layout.Range{To: sc.Size}); err != nil || !strings.Contains(why, test.want) {
			t.Errorf("%s: %q, %v", name, why, err)
		}
	}
}

// Whatever stands in the files of a topic, a check ends and says something, or
// finds nothing to say.
func FuzzCheck(f *testing.F) {
	disk := write(f, wireOf("t", "one", "two")+wireOf("t", "three"))
	var seed [3][]byte
	for i, name := range []string{"t/0.log", "t/0.idx", "t/journal"} {
		b, err := disk.ReadFile(name)
		must(f, err)
		seed[i] = b
	}
	f.Add(seed[0], seed[1], seed[2])
	f.Add([]byte(nil), []byte("logd-idx"), []byte("logd-jnl"))
	f.Fuzz(func(t *testing.T, log, index, journal []byte) {
		disk := vfstest.New()
		must(t, disk.WriteFile("t/0.log", log))
		must(t, disk.WriteFile("t/0.idx", index))
		must(t, disk.WriteFile("t/journal", journal))
		_, r := check(t, disk)
		if r.Unchecked > 0 {
			return // of a newer version
		}
		if r := repair(t, disk); r.Failed != nil {
			t.Fatal(r.Failed)
		}
		if found, r := check(t, disk); r.Damages > 0 {
			t.Fatalf("after the repair: %+v", found)
		}
	})
}

package storage

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// damageLog is a log of two partitions, closed, to be damaged.
type damageLog struct {
	files   map[string][]byte // of the whole work directory
	bodies  []string
	offsets []int64 // of the batches; the last one is next
	second  int64   // base of the second partition
}

func newDamageLog(t *testing.T) *damageLog {
	disk := vfstest.New()
	o := Options{PartitionSize: 6000, Partitions: -1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	d := &damageLog{files: make(map[string][]byte)}
	for i := range 60 {
		body := fmt.Sprintf("%d %s", i, strings.Repeat(string(rune('a'+i%26)), 100+i))
		d.bodies = append(d.bodies, body)
		d.offsets = append(d.offsets, mustAppend(t, l, batchOf("t", body)).Offset)
	}
	d.offsets = append(d.offsets, l.Next())
	d.second = l.Partitions()[1].Base()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range disk.Names() {
		if !strings.HasSuffix(name, "/") {
			b, err := disk.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			d.files[name] = b
		}
	}
	return d
}

// check opens the log with one of its files damaged, the index and journal of
// which may be gone, and checks that every batch that does not touch the bytes
// from from to to (offsets) is served, that none that does is, and that what
// is logged names file and offset.
//
// slack is how far from changed bytes a whole batch may be set aside with
// them: a foreign envelope that the damage brought may promise so much.
func (d *damageLog) check(t *testing.T, file string, content []byte, without string, slack int64) error {
	t.Helper()
	disk := vfstest.New()
	for name, b := range d.files {
		if name == file {
			b = content
		}
		if without != "" && strings.HasSuffix(name, without) {
			continue
		}
		if err := disk.WriteFile(name, b); err != nil {
			return err
		}
	}
	if err := agree(disk, "t"); err != nil {
		return err
	}
	base := int64(0)
	if file != "t/0.log" {
		base = d.second
	}
	var logged bytes.Buffer
	o := Options{FS: disk, PartitionSize: 6000, Partitions: -1, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	s, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.Log([]byte("t"))
	if err != nil {
		return err
	}
	was := d.files[file]
	touched := int64(-1) // the first batch that is damaged
	for i, body := range d.bodies {
		from, to := d.offsets[i]-base, d.offsets[i+1]-base
		whole := from < 0 || from >= int64(len(was)) ||
			(to <= int64(len(content)) && bytes.Equal(was[from:to], content[from:to]))
		if !whole && touched < 0 {
			touched = d.offsets[i]
		}
		var got []byte
		v, err := l.Read(d.offsets[i], 1, 0)
		if err == nil {
			got, err = readView(v)
		}
		want := string(batchOf("t", body).data)
		if whole && slack > 0 {
			near := max(min(to+slack, int64(len(was))), 0)
			far := min(max(from-slack, 0), near)
			if !bytes.Equal(was[far:near], content[far:near]) {
				continue
			}
		}
		if whole && (err != nil || string(got) != want) {
			return fmt.Errorf("batch %d at %d, which is whole: %v, %d bytes\n%s", i, d.offsets[i], err, len(got), logged.String())
		}
		// A read goes by envelopes and does not check data that it has no reason
		// to doubt; the reader checks it.
		if !whole && err == nil && string(got) == want {
			return fmt.Errorf("batch %d at %d is damaged and served as it was", i, d.offsets[i])
		}
	}
	if touched < 0 {
		return nil
	}
	p := partitionAt(l, touched)
	if err := rescan(p); err != nil {
		return err
	}
	for i := range d.bodies {
		from, to := d.offsets[i]-base, d.offsets[i+1]-base
		if from < 0 || from >= int64(len(was)) || (to <= int64(len(content)) && bytes.Equal(was[from:to], content[from:to])) {
			continue
		}
		if v, err := l.Read(d.offsets[i], 1, 0); err == nil {
			v.Close()
			if slack > 0 {
				continue // another whole batch of the log, moved here: bytes can't tell
			}
			return fmt.Errorf("batch %d at %d is damaged and, once scanned, served", i, d.offsets[i])
		}
	}
	if log := logged.String(); !strings.Contains(log, file) || !strings.Contains(log, "offset=") {
		return fmt.Errorf("what is logged does not name %s and an offset:\n%s", file, log)
	}
	return nil
}

func TestDamage(t *testing.T) {
	d := newDamageLog(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	many := 1
	if os.Getenv("LOGD_DAMAGE_ALL") != "" {
		many = 5 // TestDamageAnywhere has them all
	}
	without := []string{"", ".idx", "journal"}
	for _, file := range []string{"t/0.log", fmt.Sprintf("t/%d.log", d.second)} {
		data := d.files[file]
		t.Run("bit flips of "+file, func(t *testing.T) {
			for i, bit := range rng.Perm(len(data) * 8)[:150*many] {
				b := bytes.Clone(data)
				b[bit/8] ^= 1 << (bit % 8)
				if err := d.check(t, file, b, without[i%2], 0); err != nil {
					t.Fatalf("bit %d of byte %d, without %q: %v", bit%8, bit/8, without[i%2], err)
				}
			}
		})
		t.Run("truncations of "+file, func(t *testing.T) {
			for i, size := range rng.Perm(len(data))[:100*many] {
				if err := d.check(t, file, data[:size], without[i%2], 0); err != nil {
					t.Fatalf("cut at %d, without %q: %v", size, without[i%2], err)
				}
			}
		})
		t.Run("blocks of "+file, func(t *testing.T) {
			other := make([]byte, len(data)) // what a stale block holds: another topic's batches
			for n := 0; n < len(other); {
				n += copy(other[n:], batchOf("other", "stale").data)
			}
			for _, size := range []int{512, 4096} {
				for at := 0; at < len(data); at += size {
					end := min(at+size, len(data))
					for name, change := range map[string]func(b []byte){
						"zeroed":  func(b []byte) { clear(b[at:end]) },
						"stale":   func(b []byte) { copy(b[at:end], other[at:]) },
						"swapped": func(b []byte) { copy(b[at:end], data[(at+size)%len(data)/size*size:]) },
					} {
						b := bytes.Clone(data)
						change(b)
						slack := int64(0)
						if name == "swapped" {
							slack = 400
						}
						for _, w := range without[:2] {
							if err := d.check(t, file, b, w, slack); err != nil {
								t.Fatalf("block of %d at %d %s, without %q: %v", size, at, name, w, err)
							}
						}
					}
				}
			}
		})
	}
}

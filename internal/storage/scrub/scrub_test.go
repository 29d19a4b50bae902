package scrub

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// part is a partition of batches of the same length.
type part struct {
	file    *files.File
	size    int64
	batch   int64
	gone    bool
	damaged []int64 // of which it was told
	lie     bool    // it does not know of damage, whatever it is told
	err     error   // of Damaged
}

func (p *part) Gone() bool        { return p.gone }
func (p *part) Topic() string     { return "t" }
func (p *part) Base() int64       { return 0 }
func (p *part) Size() int64       { return p.size }
func (p *part) File() *files.File { return p.file }

func (p *part) Past(pos int64) int64 {
	if slices.Contains(p.damaged, pos) && !p.lie {
		return pos + p.batch
	}
	return pos
}

func (p *part) Damaged(pos int64, before int) error {
	if n := len(slices.DeleteFunc(slices.Clone(p.damaged), func(d int64) bool { return d != pos })); n != before {
		return fmt.Errorf("told of %d for the %dth time, and says that it was %d times", pos, n, before)
	}
	p.damaged = append(p.damaged, pos)
	return p.err
}

// checked returns a Scrubber of partitions of n batches each, of about 1,000 bytes.
func checked(t *testing.T, n int, names ...string) (sb *Scrubber, disk *vfstest.FS, parts []*part, logged *strings.Builder) {
	t.Helper()
	disk, logged = vfstest.New(), new(strings.Builder)
	cache := &files.Cache{FS: disk, Perm: 0o600, Limit: 10}
	var b batch.Builder
	b.Add([]byte(strings.Repeat("x", 1000)))
	one := b.Finish("t")
	for _, name := range names {
		if err := disk.WriteFile(name, []byte(strings.Repeat(string(one), n))); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, &part{file: cache.File(name), size: int64(n * len(one)), batch: int64(len(one))})
	}
	sb = &Scrubber{
		Partitions: func() iter.Seq[Partition] {
			return func(yield func(Partition) bool) {
				for _, p := range parts {
					if !yield(p) {
						return
					}
				}
			}
		},
		Rate: 1000, Logger: slog.New(slog.NewTextHandler(logged, nil)), Now: time.Now,
		After: func(d time.Duration) (<-chan struct{}, func() bool) {
			c := make(chan struct{})
			return c, time.AfterFunc(d, func() { close(c) }).Stop
		},
	}
	return sb, disk, parts, logged
}

// A pass takes the time that the rate says, and the next one begins a week after
// it.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb, _, parts, _ := checked(t, 1000, "0.log", "1.log")
		all := parts[0].size + parts[1].size
		begun := time.Now()
		sb.Start()
		defer sb.Stop()
		least := time.Duration(float64(all) / float64(sb.Rate) * float64(time.Second))
		time.Sleep(least - time.Minute)
		if n := sb.Counts(); !n.Passed.IsZero() {
			t.Errorf("too early: %+v", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		n := sb.Counts()
		if n.Checked != all || n.Damaged != 0 || n.Passed.Sub(begun).Round(time.Minute) != least.Round(time.Minute) {
			t.Errorf("after a pass of %v: %+v", n.Passed.Sub(begun), n)
		}
		time.Sleep(every - time.Since(begun) - time.Minute)
		if got := sb.Counts().Checked; got != all {
			t.Errorf("%d bytes are checked before the week is over, want %d", got, all)
		}
		time.Sleep(time.Minute + least + time.Minute)
		if got := sb.Counts().Checked; got != 2*all {
			t.Errorf("%d bytes are checked a week later, want %d", got, 2*all)
		}
	})
}

// Damage is told of, and what follows it is checked. A partition that knows
// nothing of it is told until it says so.
func TestDamage(t *testing.T) {
	errEnough := errors.New("enough")
	for _, lie := range []bool{false, true} {
		t.Run(fmt.Sprintf("denied %v", lie), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sb, disk, parts, logged := checked(t, 10, "0.log")
				p := parts[0]
				if p.lie = lie; lie {
					p.err = errEnough
				}
				f, err := disk.ReadFile("0.log")
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range []int64{2, 7} {
					f[i*p.batch+p.batch/2] ^= 1
				}
				if err := disk.WriteFile("0.log", f); err != nil {
					t.Fatal(err)
				}
				sb.Start()
				time.Sleep(time.Minute)
				synctest.Wait()
				n := sb.Counts()
				sb.Stop()
				switch {
				case lie && (n.Checked != 2*p.batch || n.Damaged != 0 || !strings.Contains(logged.String(), "enough")):
					t.Errorf("%+v, told of %d, logged %s", n, p.damaged, logged)
				case !lie && (n.Checked != 10*p.batch || n.Damaged != 2 || !slices.Equal(p.damaged, []int64{2 * p.batch, 7 * p.batch})):
					t.Errorf("%+v, told of %d, logged %s", n, p.damaged, logged)
				}
			})
		})
	}
}

// What is gone is not read, nor said to be missing.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb, disk, parts, logged := checked(t, 10, "0.log", "1.log")
		parts[0].gone = true
		if err := disk.Remove("0.log"); err != nil {
			t.Fatal(err)
		}
		sb.Start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := sb.Counts(); n.Checked != parts[1].size || logged.Len() > 0 {
			t.Errorf("%+v, logged %s", n, logged)
		}
		sb.Stop()
	})
}

// Stop does not wait for the end of a pass.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb, _, _, _ := checked(t, 1000, "0.log")
		sb.Start()
		time.Sleep(time.Second)
		begun := time.Now()
		sb.Stop()
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

package numbers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// memory is a log in memory, and its Book.
type memory struct {
	*Book
	writer  sync.Mutex
	data    []byte
	starts  []int64
	synced  atomic.Int64
	read    int   // envelopes that were read
	failing error // of Envelopes
	deleted bool
}

func (m *memory) Name() string            { return "t" }
func (m *memory) ID() [16]byte            { return [16]byte{1} }
func (m *memory) Begin() int64            { return 0 }
func (m *memory) Next() int64             { return int64(len(m.data)) }
func (m *memory) Synced() int64           { return m.synced.Load() }
func (m *memory) Deleted() bool           { return m.deleted }
func (m *memory) Examine(err error) error { return err }

func (m *memory) Newest(batches int64, _ func() error) (int64, error) {
	if n := int64(len(m.starts)) - batches; n > 0 {
		return m.starts[n], nil
	}
	return 0, nil
}

func (m *memory) Envelopes(from, to int64, visit func(offset, length int64, h *batch.Header) error) (int64, error) {
	for from < to {
		h, n, err := batch.Parse(m.data[from:])
		if err = errors.Join(err, m.failing); err != nil {
			return from, err
		}
		m.read++
		if err := visit(from, n, &h); err != nil {
			return from, err
		}
		from += n
	}
	return from, nil
}

// open returns a Book of the log, with a Keeper of its own, as a start makes them.
func (m *memory) open(disk *vfstest.FS) *Keeper {
	k := &Keeper{FS: disk, FileMode: 0o600, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Memory: 1 << 20}
	k.SetWindow(producers.MinWindow)
	m.Book = &Book{Keeper: k, Log: m, Folder: files.NewFolder("t"), Journal: new(journal.Journal), Writer: &m.writer}
	m.Journal.Load(journal.NewState(), 0)
	k.Books = func() []*Book { return []*Book{m.Book} }
	k.Start()
	return k
}

// send does what an append does, and returns what became of the batch.
func (m *memory) send(pid string, seq int64) string {
	if err := m.Ready(context.Background()); err != nil {
		return err.Error()
	}
	m.writer.Lock()
	defer m.writer.Unlock()
	m.Check()
	var b batch.Builder
	b.Add([]byte("x"))
	wire := b.FinishNumbered("t", pid, seq)
	number := NumberOf(wire, m.Next())
	o, store := m.Ask(&number, int64(len(m.starts)))
	next, isOrder := errors.AsType[*topic.OutOfOrderError](o.Err)
	switch {
	case isOrder:
		return fmt.Sprint("want ", next.Next)
	case o.Err != nil:
		return o.Err.Error()
	case !store:
		return fmt.Sprint("again ", o.Offset)
	}
	m.Stage(&number)
	m.starts = append(m.starts, m.Next())
	m.data = append(m.data, wire...)
	m.Settle(true, time.Now().UnixMilli())
	return "stored"
}

func (m *memory) want(t *testing.T, pid string, seq int64, want string) {
	t.Helper()
	if got := m.send(pid, seq); got != want {
		t.Errorf("%s %d: %s, want %s", pid, seq, got, want)
	}
}

// begin returns an empty log.
func begin(t *testing.T) (*memory, *vfstest.FS, *Keeper) {
	t.Helper()
	disk := vfstest.New()
	if err := disk.Mkdir("t", 0o700); err != nil {
		t.Fatal(err)
	}
	m := new(memory)
	return m, disk, m.open(disk)
}

func hasCache(disk *vfstest.FS) bool {
	_, err := disk.Stat(layout.ProducersFile("t"))
	return err == nil
}

// TestBook: what is asked is answered from the log, also after a start, when the cache
// says the most of it.
func TestBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, disk, k := begin(t)
		m.want(t, "a", 1, "stored")
		m.want(t, "a", 2, "stored")
		m.want(t, "a", 2, fmt.Sprint("again ", m.starts[1]))
		m.want(t, "a", 4, "want 3")
		if k.Duplicates() != 1 {
			t.Errorf("%d duplicates, want 1", k.Duplicates())
		}
		time.Sleep(keepAfter + 2*keepEvery)
		if hasCache(disk) {
			t.Error("there is a cache of what is not synced")
		}
		m.synced.Store(m.Next())
		time.Sleep(2 * keepEvery)
		if !hasCache(disk) {
			t.Error("there is no cache of what is synced")
		}
		m.want(t, "a", 3, "stored")
		k.Stop()

		k = m.open(disk)
		defer k.Stop()
		m.read = 0
		m.want(t, "a", 3, fmt.Sprint("again ", m.starts[2]))
		if m.read != 1 {
			t.Errorf("%d envelopes were read behind the cache, want 1", m.read)
		}
	})
}

// TestBookOfAnotherLog: a cache that does not say what the log has is not used.
func TestBookOfAnotherLog(t *testing.T) {
	tests := map[string]func(m *memory){
		"a shorter one":      func(m *memory) { m.data, m.starts = m.data[:m.starts[1]], m.starts[:1] },
		"another window":     func(m *memory) { m.Keeper.SetWindow(producers.MinWindow + 1) },
		"damage before that": func(m *memory) { m.Journal.Remember(journal.Damaged, 0, m.starts[1]) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, disk, k := begin(t)
				m.want(t, "a", 1, "stored")
				m.want(t, "a", 2, "stored")
				m.synced.Store(m.Next())
				m.writer.Lock()
				m.Close()
				m.writer.Unlock()
				k.Stop()
				if !hasCache(disk) {
					t.Fatal("Close has written no cache")
				}
				k = m.open(disk)
				defer k.Stop()
				change(m)
				m.read = 0
				m.want(t, "b", 2, "want 1")
				if m.read != len(m.starts) {
					t.Errorf("%d envelopes were read, want all %d", m.read, len(m.starts))
				}
			})
		})
	}
}

// TestCheckCache: a start keeps a cache that says no more than the log has, and removes
// another durably.
func TestCheckCache(t *testing.T) {
	for _, shorter := range []bool{false, true} {
		t.Run(fmt.Sprint(shorter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, disk, k := begin(t)
				defer k.Stop()
				m.want(t, "a", 1, "stored")
				m.writer.Lock()
				m.Close()
				m.writer.Unlock()
				if shorter {
					m.data = nil
				}
				if err := m.CheckCache(); err != nil {
					t.Fatal(err)
				}
				if hasCache(disk) == shorter {
					t.Errorf("there is a cache: %v", hasCache(disk))
				}
			})
		})
	}
}

// TestBookIsRefused: without a table numbered batches are refused, and it is tried
// again with the next.
func TestBookIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, disk, k := begin(t)
		m.want(t, "a", 1, "stored")
		k.Stop()
		k = m.open(disk)
		m.failing = errors.New("a disk that fails")
		m.want(t, "a", 1, topic.ErrBusy.Error())
		m.failing = nil
		m.want(t, "a", 1, "again 0")

		m.writer.Lock()
		m.Cut()
		m.writer.Unlock()
		if m.IsReady() {
			t.Error("a table is left of a log that was cut off")
		}
		m.want(t, "a", 1, "again 0")

		m.Journal.Remember(journal.Damaged, 0, m.Next())
		if m.IsReady() {
			t.Error("a table is what the log says, and something was set aside since")
		}
		k.Managed = true
		m.want(t, "a", 1, topic.ErrBusy.Error())
		m.Unmissed(m.Next())
		m.data, m.starts = append(m.data, m.data...), append(m.starts, m.Next())
		m.want(t, "b", 2, "want 1")
		k.Stop()
		m.writer.Lock()
		m.Cut()
		m.writer.Unlock()
		m.want(t, "a", 1, topic.ErrClosed.Error())
	})
}

// TestKeeperBoundsMemory: of two tables that are too many the one goes that was not
// used for longer, and its cache is written before.
func TestKeeperBoundsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, disk, k := begin(t)
		other := new(memory)
		if err := disk.Mkdir("other", 0o700); err != nil {
			t.Fatal(err)
		}
		other.Book = &Book{Keeper: k, Log: other, Folder: files.NewFolder("other"), Journal: m.Journal, Writer: &other.writer}
		k.Memory, k.Books = 1, func() []*Book { return []*Book{other.Book, m.Book} }
		defer k.Stop()
		m.want(t, "a", 1, "stored")
		m.synced.Store(m.Next())
		time.Sleep(time.Millisecond)
		other.want(t, "a", 1, "stored")
		time.Sleep(2 * keepEvery)
		if m.IsReady() || !other.IsReady() || !hasCache(disk) {
			t.Errorf("in memory: %v, %v, and there is a cache: %v", m.IsReady(), other.IsReady(), hasCache(disk))
		}
		m.want(t, "a", 1, "again 0")
	})
}

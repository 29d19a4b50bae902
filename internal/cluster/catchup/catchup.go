// Package catchup gets the bytes that a member lacks from the others: those of a table
// that a group takes over, a group at a time, and those that are damaged. It decides
// nothing. What there is to be is said by the table or by the log of the group; who gives
// bytes may not know that they are damaged, so each batch is checked.
//
// INVARIANT: a member is told that the bytes of a table are there ([Member.There]) when all
// of them are on stable storage, and bytes are put in the place of damaged ones only if no
// run of the own log says that they are others.
//
// A [Fetcher] has neither a goroutine nor a lock. All that it does it posts to its member,
// which does one thing after another: so a simulation decides when. Its methods may be
// called by anybody.
package catchup

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
)

// Source is the other members, as those who are asked. Its methods block.
type Source interface {
	// Fetch gets bytes of a topic from a member, up to so many: what is stored from
	// an offset on. The error is a *peer.GoneError if they were trimmed there.
	Fetch(from uint64, topic entry.ID, offset, end int64) (Fetched, error)
	// Sums gets the CRC-32C of each MiB of a topic from a member: see [copies.Set.Sums].
	Sums(from uint64, topic entry.ID, offset, end int64) ([]uint32, error)
}

// Fetched is bytes of a topic as another member has them.
type Fetched struct {
	Data  []byte
	Parts []peer.Part
}

// Member is whom a Fetcher works for. None of its methods blocks.
type Member interface {
	// Post has f called after all that was posted before.
	Post(f func())
	// Err returns why the member can't go on, or nil.
	Err() error
	// MayWrite returns why no bytes of topics are to be written now, or nil.
	MayWrite() error

	// There is told that the bytes of a table are on stable storage, but for what was
	// trimmed since: where topics begin then, by number.
	There(group int, t *entry.Table, oldest map[uint32]int64)
	// Stalled is told that a table may be of no use, since nobody gives its bytes, or that
	// somebody does again.
	Stalled(group int, stalled bool)
	// Failed is told that the files of a group can't be used.
	Failed(group int, err error)
	// Log has then posted, unless the group takes over a table, with who is in the group
	// and what its log says of the bytes of a topic.
	Log(group int, topic uint32, then func(conf *entry.Conf, runs []entry.Run))
}

// Options are what a Fetcher is made of.
type Options struct {
	ID     uint64 // of the member
	Groups int    // how many there are
	Member Member
	Source Source
	Store  *storage.Store
	Copies *copies.Set // of Store
	Logger *slog.Logger
	Rate   int64         // bytes a second; 0: no limit
	Tick   time.Duration // from one Tick to the next
}

// Fetcher gets the bytes that a member lacks, a piece at a time. New makes it.
type Fetcher struct {
	o    Options
	jobs []*takeover // by group; nil where no table is taken over
	job  *takeover   // the one that goes on; nil: another is to be chosen
	room int64       // how many bytes may be fetched until the next tick
	goes bool        // goOn is posted
	from int         // which of the others is asked first
	busy atomic.Bool // there are jobs: for others

	fetched, refilled atomic.Int64 // bytes
}

// New returns a Fetcher that has nothing to do.
func New(o Options) *Fetcher { return &Fetcher{o: o, jobs: make([]*takeover, o.Groups)} }

// Busy reports whether there are tables to be taken over. If there are, or if something is
// damaged, Tick is to be called.
func (f *Fetcher) Busy() bool { return f.busy.Load() }

// Fetched returns how many bytes were fetched for tables.
func (f *Fetcher) Fetched() int64 { return f.fetched.Load() }

// Refilled returns how many bytes were damaged, and are there again.
func (f *Fetcher) Refilled() int64 { return f.refilled.Load() }

// TakeOver has the bytes of a table fetched, in place of those of the one that its group
// takes over now. old is the topics as they are here by the own log; nil if there is none:
// then only what others confirm may stay.
func (f *Fetcher) TakeOver(group int, t *entry.Table, old []entry.Topic) {
	f.o.Member.Post(func() {
		f.set(group, &takeover{group: group, table: t, old: old, oldest: make(map[uint32]int64)})
		f.again()
	})
}

// Drop ends a takeover.
func (f *Fetcher) Drop(group int) {
	f.o.Member.Post(func() { f.set(group, nil) })
}

// Tick has what found nobody go on, and some of what is damaged refilled: troubled are the
// copies that lack bytes or have failed.
func (f *Fetcher) Tick(troubled []copies.Copy) {
	f.o.Member.Post(func() { f.tick(troubled) })
}

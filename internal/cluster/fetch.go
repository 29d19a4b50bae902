package cluster

import (
	"github.com/logd-dev/logd/internal/cluster/catchup"
	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
)

// What others use of the rooms has its name here, too.

// FetchBytes is how much is fetched at once, but for a larger batch.
const FetchBytes = copies.FetchBytes

// Fetched is bytes of a topic as another member has them.
type Fetched = catchup.Fetched

// ErrNotHere is bytes that a member does not give: they are not there, not readable
// yet, or damaged.
var ErrNotHere = copies.ErrNotHere

// Serve returns bytes of a topic for another member: see [copies.Set.Serve].
func (n *Node) Serve(id entry.ID, from, to int64) (View, []peer.Part, error) {
	return n.topics.Serve(id, from, to)
}

// Sums returns the CRC-32C of each MiB of a topic: see [copies.Set.Sums].
func (n *Node) Sums(id entry.ID, from, to int64) ([]uint32, error) {
	return n.topics.Sums(id, from, to)
}

// fetcher gets the bytes that this member lacks.
type fetcher struct {
	actor
	*catchup.Fetcher
}

// fetching is the member as its fetcher sees it: a catchup.Member.
type fetching struct{ n *Node }

func (f fetching) Post(job func()) { f.n.fetcher.post(job) }
func (f fetching) Err() error      { return f.n.Err() }

// MayWrite: what was given away of the reserve is not for bytes of topics.
func (f fetching) MayWrite() error {
	if f.n.disk.reserve.short.Load() {
		return errReserve
	}
	return nil
}

func (f fetching) There(number int, t *entry.Table, oldest map[uint32]int64) {
	f.n.core.post(func() {
		f.n.core.groups[number].g.TableThere(t, oldest)
		f.n.core.take(number)
	})
}

func (f fetching) Stalled(number int, stalled bool) {
	f.n.core.post(func() { f.n.core.groups[number].stalled = stalled })
}

func (f fetching) Failed(number int, err error) {
	f.n.disk.post(func() { f.n.disk.failed(number, err) })
}

func (f fetching) Log(number int, topic uint32, then func(conf *entry.Conf, runs []entry.Run)) {
	f.n.core.post(func() {
		g := f.n.core.groups[number].g
		if term, _ := g.TakingOver(); term != 0 {
			return
		}
		conf, _ := g.Conf()
		runs := g.RunsAt(topic)
		f.n.fetcher.post(func() { then(&conf, runs) })
	})
}

package catchup

import (
	"errors"
	"slices"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
)

// errNobody is that nobody gives what is needed now.
var errNobody = errors.New("cluster: no member has the bytes now")

// ask asks the other members of a group for bytes of a topic, one after another, and
// whoever gave them at first the next time.
func (f *Fetcher) ask(conf *entry.Conf, id entry.ID, from, to int64) (Fetched, error) {
	var ids []uint64
	for _, list := range [][]uint64{conf.Voters, conf.Learners, conf.Outgoing} {
		for _, m := range list {
			if m != f.o.ID && !slices.Contains(ids, m) {
				ids = append(ids, m)
			}
		}
	}
	if len(ids) == 0 {
		return Fetched{}, errNobody
	}
	for range ids {
		got, err := f.o.Source.Fetch(ids[f.from%len(ids)], id, from, to)
		var gone *peer.GoneError
		if err == nil && whole(&got, from, to) || errors.As(err, &gone) {
			return got, err
		}
		f.from++
	}
	return Fetched{}, errNobody
}

// whole reports whether what was fetched is of the range, with its parts in order.
func whole(got *Fetched, from, to int64) bool {
	n := int64(len(got.Data))
	if n == 0 || n > to-from || len(got.Parts) == 0 || got.Parts[0].Offset != from {
		return false
	}
	for i := 1; i < len(got.Parts); i++ {
		if got.Parts[i].Offset <= got.Parts[i-1].Offset || got.Parts[i].Offset >= from+n {
			return false
		}
	}
	return true
}

package cluster

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/vfs"
)

// Errors of Init and Single.
var (
	// ErrMember is a work directory that is a member's already.
	ErrMember = errors.New("the work directory is a member of a cluster already")
	// ErrNoMember is a work directory that is no member's.
	ErrNoMember = errors.New("the work directory is no member of a cluster")
)

// First is the first member of a new cluster.
type First struct {
	Cluster  entry.ID
	Groups   int
	Name     string
	Addr     string // for clients
	PeerAddr string // for other members
	Settings []entry.Setting
	Boot     uint64
}

// Init makes the first member of a cluster of a work directory, in whose store nobody
// works. No byte of the topics is changed; all of them are on stable storage when
// it returns nil. With an error it is a single node's still.
func Init(ctx context.Context, fsys vfs.FS, store *storage.Store, f First) error {
	if _, err := grouplog.ReadMember(fsys); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = ErrMember
		}
		return err
	}
	for name, err := range store.Broken() {
		return fmt.Errorf("topic %s can't be opened: %w", name, err)
	}
	logs := store.All()
	slices.SortFunc(logs, func(a, b *storage.Log) int { return strings.Compare(a.Name(), b.Name()) })
	if errs, _ := store.SyncTogether(logs, nil); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	settings := slices.SortedFunc(slices.Values(f.Settings), func(a, b entry.Setting) int { return strings.Compare(a.Key, b.Key) })
	self := entry.Member{ID: 1, Role: entry.Voter, Name: f.Name, Addr: f.Addr, PeerAddr: f.PeerAddr}
	tables := make([]*entry.Table, f.Groups)
	for i := range tables {
		tables[i] = &entry.Table{Group: uint16(i), Index: 1, Term: 1, Conf: entry.Conf{Voters: []uint64{self.ID}}, NextTopic: 1}
	}
	tables[0].Members, tables[0].NextMember, tables[0].Settings = []entry.Member{self}, self.ID+1, settings
	for _, l := range logs {
		t := tables[GroupOf(l.Name(), f.Groups)]
		t.Topics = append(t.Topics, entry.Topic{
			Number: t.NextTopic, ID: l.ID(), Name: l.Name(), Time: l.Created(), Oldest: l.Begin(), End: l.Next(),
		})
		t.NextTopic++
	}
	l, err := grouplog.Create(fsys, grouplog.Member{Cluster: f.Cluster, ID: self.ID, Name: f.Name, Groups: f.Groups}, f.Boot, tables)
	if err != nil {
		return err
	}
	return l.Close()
}

// Admitted makes a work directory that of a member which was admitted to a cluster as w
// says. It must have no topics. The member is one when it returns nil.
func Admitted(fsys vfs.FS, m grouplog.Member, boot uint64, w *peer.Welcome) error {
	if err := grouplog.NotePeers(fsys, peer.AppendWelcome(nil, w)); err != nil {
		return err
	}
	l, err := grouplog.Create(fsys, m, boot, nil)
	if err != nil {
		return err
	}
	return l.Close()
}

// notePeers keeps who the members are where it is found without the member log: a member
// that has lost that log asks them to be admitted anew.
func (d *disk) notePeers(members []entry.Member) {
	w := &peer.Welcome{ID: d.n.member.ID, Groups: d.n.member.Groups}
	for _, m := range members {
		if active(&m) {
			w.Members = append(w.Members, m)
		}
	}
	b := peer.AppendWelcome(nil, w)
	if string(b) == d.peers {
		return
	}
	if err := grouplog.NotePeers(d.n.o.FS, b); err != nil {
		d.n.log.Warn("where the other members are is not noted", "err", err)
		return
	}
	d.peers = string(b)
}

// Peers returns who was a member when this one last knew it, as far as the work directory
// says: for who has lost the member log.
func Peers(fsys vfs.FS) []entry.Member { return admittedBy(fsys) }

// admittedBy returns those who were members when this one was admitted, or nobody.
func admittedBy(fsys vfs.FS) []entry.Member {
	b, err := grouplog.Peers(fsys)
	if err != nil {
		return nil
	}
	w, err := peer.NewReader(bytes.NewReader(b)).Welcome()
	if err != nil {
		return nil
	}
	return w.Members
}

// Single makes a single node of a member, and returns the id of the cluster that it was
// in. All bytes of its topics stay, those in doubt, too. The other members must not be
// started again: they would go on as if this one were one of them.
func Single(ctx context.Context, fsys vfs.FS, store *storage.Store) (entry.ID, error) {
	m, err := grouplog.ReadMember(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		return entry.ID{}, ErrNoMember
	}
	if err != nil {
		return entry.ID{}, err
	}
	for _, l := range store.All() {
		if l.Named() {
			continue
		}
		// Its creation, or a table that brought it, was not certain.
		if l.Begin() == l.Next() {
			err = store.DropNew(l)
		} else if err = store.TakeName(l); errors.Is(err, fs.ErrExist) {
			err = store.DropNew(l) // kept among what was deleted
		}
		if err != nil {
			return m.Cluster, err
		}
	}
	old := fmt.Sprintf("%s-%s.old", grouplog.Dir, hex.EncodeToString(m.Cluster[:]))
	if err := fsys.Rename(grouplog.Dir, old); err != nil {
		return m.Cluster, err
	}
	return m.Cluster, fsys.SyncDir(".")
}

package cluster

import (
	"testing"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestSavedAll: a member that goes on alone keeps what the cluster may have agreed upon,
// also if it has not noted that.
func TestSavedAll(t *testing.T) {
	disk := vfstest.New()
	if _, err := SavedAll(disk); err == nil {
		t.Error("no member says something")
	}
	conf := entry.Conf{Voters: []uint64{1, 2, 3}}
	log, err := grouplog.Create(disk, grouplog.Member{Cluster: entry.ID{1}, ID: 1, Name: "a", Groups: 1}, 1, []*entry.Table{{Index: 1, Term: 1, Conf: conf}})
	if err != nil {
		t.Fatal(err)
	}
	set := func(index uint64, value string) grouplog.Record {
		return grouplog.Record{Kind: grouplog.Entry, Index: index, Term: 1, Data: entry.Append(nil, entry.Setting{Key: "k", Value: value})}
	}
	for _, records := range [][]grouplog.Record{{set(2, "noted")}, {{Kind: grouplog.Commit, Index: 2}, set(3, "in doubt")}} {
		if err := log.Append(records...); err != nil {
			t.Fatal(err)
		}
		end := log.End()
		if err := log.File().Sync(); err != nil {
			t.Fatal(err)
		}
		if err := log.Durable(end); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := Saved(disk).Setting("k"); got != "noted" {
		t.Errorf("Saved: %q", got)
	}
	all, err := SavedAll(disk)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := all.Setting("k"); got != "in doubt" {
		t.Errorf("SavedAll: %q", got)
	}
}

package grouplog_test

import (
	"fmt"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// A sync round of a member that votes and stores an entry, and a start after the
// power failed.
func Example() {
	disk := vfstest.New()
	member := grouplog.Member{Cluster: [16]byte{1}, ID: 1, Name: "a", Groups: 1}
	log, err := grouplog.Create(disk, member, 1, []*entry.Table{{Index: 1, Term: 1, Conf: entry.Conf{Voters: []uint64{1}}}})
	if err != nil {
		panic(err)
	}

	trim := entry.Append(nil, entry.Trim{Topic: 7, Offset: 1000})
	err = log.Append(
		grouplog.Record{Kind: grouplog.Hard, Term: 2, Vote: 1},
		grouplog.Record{Kind: grouplog.Entry, Index: 2, Term: 2, Data: trim},
	)
	if err != nil {
		panic(err) // nothing of it counts
	}
	end := log.End()
	if err := log.File().Sync(); err != nil { // and the files of topics
		log.Fail(err)
	}
	if err := log.Durable(end); err != nil {
		panic(err) // nothing that waited is answered
	}
	// Here answers go out.

	recovery, err := grouplog.Open(disk.CrashKeepNothing())
	if err != nil {
		panic(err)
	}
	for _, e := range recovery.Groups[0].Entries {
		fmt.Println(e.Index, e.Term, "bytes known to be synced:", e.At < recovery.Synced)
		// If not, they are checked, and written and synced again, or the log ends.
	}
	log, err = recovery.Start(2)
	if err != nil {
		panic(err)
	}
	fmt.Println(log.Synced() == log.End())
	// Output:
	// 2 2 bytes known to be synced: false
	// true
}

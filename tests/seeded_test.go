package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// seededPlace is a place in the source where bugs are put: what stands there
// once is replaced, in a copy. In the replacement bug("name") is true if the
// bug of that name is to be there.
type seededPlace struct {
	file     string
	old, new string
	judges   string // of the tests that these match, as for go test -run, one has to fail: of the package, or of one that it is a room of; bySimulation and byOrder are internal/cluster's
}

const (
	byPowerCuts = "^TestPowerCut$"
	byFaults    = "^TestFaults$"
	byDamage    = "^(TestDamage|TestScan.*)$"
	byVerify    = "^(TestVerify.*|TestScrub.*)$"
	byNumbers   = "^TestNumbers.*$"
	byWriters   = "^(TestNumbered.*|TestEachIsStoredOnce|TestTakes|TestRead)$"
	byRuns      = "^TestAppend(Run|Led).*$"
	byReset     = "^TestReset.*$"
	byRefill    = "^Test(Refill|Lost).*$"
	byNew       = "^Test(NewTopicCrash|TakeNameMeanwhile|CreateAs)$"
	byReports   = "^(TestReport.*|TestSharedSyncReportsOnce)$"
)

// seededPlaces hold syncs and checks that are left out, things done in the
// wrong order and numbers that are off by one: what has lost people's data.
var seededPlaces = slices.Concat(clusterPlaces, peerPlaces, storagePlaces, securityPlaces, positionsPlaces, webPlaces)

// storagePlaces are those of storage and of what it is made of.
var storagePlaces = []seededPlace{
	{"internal/storage/commitlog/truncate.go",
		`	defer l.numbers.Cut()
`, `	if bug("what is read while it is cut off is known for good") {
		l.numbers.Cut()
	} else {
		defer l.numbers.Cut()
	}
`, "^TestNumbersCut.*$"},
	{"internal/storage/commitlog/recovery.go",
		`	_, err = f.WriteAt(b, 0)
`, `	if !bug("a journal is gone on with that was not synced") {
		_, err = f.WriteAt(b, 0)
	}
`, "^TestJournalIsWrittenAgain$"},
	// Damage that a reader asks about, or that a pass looks for.
	{"internal/storage/partition/damage.go",
		`			_, n, ok, err := sc.BatchAt(pos)
`, `			_, n, ok, err := sc.BatchAt(pos)
			if bug("a read that is to check batches looks at envelopes alone") {
				_, n, ok, err = sc.HeaderAt(pos)
			}
`, byVerify},
	{"internal/storage/partition/index.go",
		`	if len(known) > 0 {
		err = l.refillIndex(`,
		`	if len(known) > 0 && !bug("times are lost when a batch is set aside") {
		err = l.refillIndex(`, byVerify},
	{"internal/storage/index/rebuild.go",
		`	size := min(src.Size, st.Size())
`, `	size := src.Size
	if !bug("a file that was cut short is scanned to where it ended") {
		size = min(size, st.Size())
	}
`, byVerify},
	{"internal/storage/scrub/scrub.go",
		`		_, n, ok, err := sc.BatchAt(*pos)
`, `		_, n, ok, err := sc.BatchAt(*pos)
		if bug("the pass looks at envelopes alone") {
			_, n, ok, err = sc.HeaderAt(*pos)
		}
`, byVerify},
	{"internal/storage/partition/ondisk.go",
		`	return min(d.synced.Load(), d.p.End.Load()) - d.p.Base
`, `	if bug("the pass looks at what is not synced") {
		return d.p.End.Load() - d.p.Base
	}
	return min(d.synced.Load(), d.p.End.Load()) - d.p.Base
`, byVerify},
	// Damage in an answer.
	{"internal/link/part.go",
		`	return cn.purpose == forReads || cn.reads > 0
`, `	return (cn.purpose == forReads || cn.reads > 0) && !bug("an append is sent behind a read")
`, "^TestReadCorruptInCompany$"},
	{"internal/link/limit.go",
		`	if cl.kind != answerAppend || n <= smallestLimit && len(cn.opts.Addrs) == 1 {
`, `	if cl.kind != answerAppend || n <= smallestLimit && len(cn.opts.Addrs) == 1 || bug("a batch is sent whatever the server's limit is") {
`, "^TestTooLargeHurtsNobodyElse$"},
	{"internal/link/reply.go",
		`		if r.br.Buffered() == 0 && !framing.Fits(h, dst[start:]) {
`, `		if r.br.Buffered() == 0 && !framing.Fits(h, dst[start:]) && !bug("the rest of a batch with a damaged size is waited for") {
`, "^TestReadCorrupt$"},
	// Appends and syncs.
	{"internal/storage/commitlog/sync.go",
		`	if err := f.Sync(); err != nil {
		return l.fail(op, of.Name()`,
		`	if bug("appends are not synced") {
	} else if err := f.Sync(); err != nil {
		return l.fail(op, of.Name()`, byPowerCuts},
	{"internal/storage/syncs/queue.go",
		`	err := m.Sync(target, !cleared)
`, `	err := m.Sync(target, !cleared && !bug("after a sync of all that failed only what was asked for is looked at"))
`, byReports},
	{"internal/storage/commitlog/sync.go",
		`		return l.syncFile(f, "sync", p.File, from)
`, `		err := l.syncFile(f, "sync", p.File, from)
		if err != nil && bug("a failed sync is tried again") {
			l.failed.Store(nil)
			l.syncFailed.Store(nil)
			err = l.syncFile(f, "sync", p.File, from)
		}
		return err
`, byFaults + "|" + byReports},
	{"internal/storage/syncs/queue.go",
		`	return m.cleared == q.failures &&`,
		`	return (m.cleared == q.failures || bug("a sync of all counts for a topic that one before has failed")) &&`, byReports},
	{"internal/storage/syncs/queue.go",
		`	return trusts && q.syncFS(failures) == nil`,
		`	if bug("a sync of all for one topic keeps its error to itself") {
		return q.FS.SyncAll() == nil
	}
	return trusts && q.syncFS(failures) == nil`, byReports},
	{"internal/storage/commitlog/pin.go",
		`	p.Pinned = true
	l.pinned = append(l.pinned, p)`,
		`	if bug("a file is closed before it is synced") {
		p.File.Release()
		return f, nil
	}
	p.Pinned = true
	l.pinned = append(l.pinned, p)`, byReports},
	{"internal/storage/commitlog/sync.go",
		`	l.fileSyncing.Lock()
	defer l.fileSyncing.Unlock()`,
		`	if !bug("syncs of a file go side by side") {
		l.fileSyncing.Lock()
		defer l.fileSyncing.Unlock()
	}`, byReports},
	{"internal/storage/commitlog/sync.go",
		`	l.folderSyncing.Lock()
	defer l.folderSyncing.Unlock()
	if err`,
		`	if !bug("syncs of a folder go side by side") {
		l.folderSyncing.Lock()
		defer l.folderSyncing.Unlock()
	}
	if err`, byReports},
	{"internal/storage/commitlog/sync.go",
		`	if err != nil && !files.NoDescriptor(err) {
		return l.fail("sync folder of"`,
		`	if err != nil && !files.NoDescriptor(err) && !bug("a folder's sync that failed is tried again") {
		return l.fail("sync folder of"`, byReports},
	{"internal/storage/syncs/queue.go",
		`	if err != nil && !files.NoDescriptor(err) {
		q.rootFailures.Add(1)`,
		`	if err != nil && !files.NoDescriptor(err) {
		if !bug("a sync of the work directory that failed is one topic's matter") {
			q.rootFailures.Add(1)
		}`, byReports},
	{"internal/storage/index/index.go",
		`		ix.Unsynced = err
`,
		`		if !bug("an index's sync that failed is tried again") {
			ix.Unsynced = err
		}
`, byReports},
	{"internal/storage/commitlog/log.go",
		`	if l.failed.CompareAndSwap(nil, e) {`,
		`	if bug("a failure is forgotten") || l.failed.CompareAndSwap(nil, e) {`, byFaults},
	{"internal/storage/commitlog/sync.go",
		`	if !l.member.FolderDirty.Swap(false) && !l.member.RootDirty.Load() {`,
		`	if !l.member.FolderDirty.Swap(false) && (!l.member.RootDirty.Load() || bug("the name of a topic that was put back is not synced")) ||
		bug("the topic's folder is not synced") {`, byPowerCuts + "|^TestTopicThatIsPutBack.*$"},
	{"internal/storage/commitlog/sync.go",
		`	if l.member.RootDirty.Load() {`,
		`	if l.member.RootDirty.Load() && !bug("the work directory is not synced") {`, byPowerCuts},
	{"internal/storage/clock/clock.go",
		`	if a.after > 0 &&`,
		`	if !bug("the interval brings no sync") && a.after > 0 &&`, byPowerCuts},
	{"internal/storage/syncs/queue.go",
		`	err := q.FS.SyncAll()
`, `	err := q.FS.SyncAll()
	if bug("a failed sync of all counts as one that did not") {
		err = nil
	}
`, "^TestIntervalTogetherFails$"},
	{"internal/storage/syncs/queue.go",
		`		if err == nil {
			w.turn <- true`, `		if err == nil || bug("a log counts as synced before the sync of all") {
			w.turn <- true`, "^TestIntervalTogetherFails$"},
	{"internal/storage/commitlog/log.go",
		`	if DeviceOf(st) != l.store.Device {`,
		`	if !bug("a topic on another device shares a sync") && DeviceOf(st) != l.store.Device {`, "^TestSyncOfAnotherDevice$"},
	{"internal/storage/journal/journal.go",
		`	return e, ok && e.End < s.Synced`,
		`	return e, ok && (e.End < s.Synced || bug("totals of a partition that was lost are believed"))`, "^TestTotalsOfAnotherPartitionAreForgotten$"},
	{"internal/storage/commitlog/policy.go",
		`	return p.Flush > 0 && (p.Flush == 1 || last-durable >= int64(p.Flush))`,
		`	late := int64(p.Flush)
	if bug("one batch more than stated may be lost") {
		late++
	}
	return p.Flush > 0 && (p.Flush == 1 || last-durable >= late)`, byPowerCuts},
	{"internal/storage/commitlog/sync.go",
		`	u := l.unsynced()
	return l.durable(`, `	u := l.unsynced()
	if bug("batches count as synced when their sync begins") {
		l.synced.Store(u.target)
		l.appendedDurably.Store(u.ordinal)
	}
	return l.durable(`, byPowerCuts + "|" + byFaults},
	{"internal/storage/commitlog/policy.go",
		`	if l.policy().SyncsFirst() {
		end = max(l.synced.Load(), l.shown.Load())`,
		`	if l.policy().SyncsFirst() && !bug("readers see what is not synced") {
		end = max(l.synced.Load(), l.shown.Load())`, "^Test(InfoCountsWhatIsReadable|RetentionStopsAtTheReadableEnd)$"},
	{"internal/storage/commitlog/sync.go",
		`	if !l.policy().SyncsFirst() {
		return
`, `	if !l.policy().SyncsFirst() || bug("what a failed sync has refused stays in the file") {
		return
`, byFaults},
	{"internal/storage/commitlog/commit.go",
		`	if n > 0 {
		if terr := f.Truncate(pos)`,
		`	if n > 0 && !bug("a partial write stays in the file") {
		if terr := f.Truncate(pos)`, byFaults},
	{"internal/storage/commitlog/commit.go",
		`		if serr := l.syncFile(`,
		`		if bug("that a partial write was cut off is not synced") {
		} else if serr := l.syncFile(`, "^TestRefusedBatchStaysAway$"},
	{"internal/storage/commitlog/commit.go",
		`	n, err := f.WritevAt(l.iovecs, pos)
	if err == nil {`,
		`	n, err := f.WritevAt(l.iovecs, pos)
	if err == nil || bug("a failed write is acknowledged") {`, byFaults},
	{"internal/storage/commitlog/commit.go",
		`		if r.done == 0 && int64(len(r.data)) >`,
		`		if !bug("offsets pass the last one") && r.done == 0 && int64(len(r.data)) >`, "^TestLastOffset$"},
	{"internal/storage/commitlog/refusal.go",
		`	return l.failWrite(op, l.parts.Head().File.Name(), l.next.Load(), fmt.Errorf("%w: %v", errPanic, r))`,
		`	if bug("a log goes on after a panic") {
		return nil
	}
	return l.failWrite(op, l.parts.Head().File.Name(), l.next.Load(), fmt.Errorf("%w: %v", errPanic, r))`, "^TestPanicFailsTheLog$"},
	{"internal/storage/commitlog/sync.go",
		`		err = l.inPlace(false)`,
		`		if !bug("nobody looks whether files are in place") {
			err = l.inPlace(false)
		}`, "^TestFilesOutOfPlace$"},

	// Recovery.
	{"internal/storage/commitlog/recovery_scan.go",
		`	if err := f.Sync(); err != nil {
		return place("sync"`,
		`	if bug("recovery serves what it has not synced") {
	} else if err := f.Sync(); err != nil {
		return place("sync"`, byPowerCuts},
	{"internal/storage/commitlog/recovery_scan.go",
		`	if !l.adopted {
		if err := files.Rewrite(`,
		`	if !l.adopted && !bug("recovery trusts pages that a failed sync has left") {
		if err := files.Rewrite(`, byFaults},
	{"internal/storage/commitlog/recovery_scan.go",
		`	if err := f.Truncate(tail); err != nil {`,
		`	if bug("a torn tail is cut one byte too far") {
		tail--
	}
	if bug("a torn tail is served") {
		from = end
	} else if err := f.Truncate(tail); err != nil {`, byPowerCuts},
	{"internal/storage/commitlog/recovery_scan.go",
		`	if !torn {`,
		`	if !torn && !(p == l.parts.Head() && bug("damage is taken for a torn tail")) {`, "^TestDamageUpTo.*$"},
	{"internal/storage/commitlog/recovery.go",
		`		if err := journal.WriteFile(s.FS, kept, s.FileMode, b); err != nil {`,
		`		if bug("a damaged journal is moved away before there is a new one") {
			if err := s.FS.Rename(layout.JournalFile(l.name), kept); err != nil {
				return err
			}
		} else if err := journal.WriteFile(s.FS, kept, s.FileMode, b); err != nil {`, "^TestDamagedJournal.*$"},
	{"internal/storage/commitlog/recovery_scan.go",
		`	p, err := l.createPartition(next)`,
		`	if bug("offsets are given out again after damage") {
		next = l.next.Load()
	}
	p, err := l.createPartition(next)`, "^TestDamageAnywhere$"},
	{"internal/storage/diagnose/verdict.go",
		`	oldest := d.Journal.Trimmed.Oldest
`, `	oldest := d.Journal.Trimmed.Oldest
	if bug("a removal that was interrupted is not finished") {
		oldest = 0
	}
`, byPowerCuts},
	{"internal/storage/diagnose/verdict.go",
		`	if cut < 0 {`,
		`	if cut < 0 || bug("a truncation that was interrupted is not finished") {`, byPowerCuts},
	{"internal/storage/scan/scan.go",
		`	defer func() { result.Tail = min(s.asideTo(result.Valid), s.Size) }()`,
		`	defer func() {
		result.Tail = min(s.asideTo(result.Valid), s.Size)
		if bug("a torn tail behind damage is taken for damage") {
			result.Tail = result.Valid
		}
	}()`, "^TestTornTailAfterKnownDamage$"},
	{"internal/storage/scan/scan.go",
		`	start, cut, packed := pos, false, false
	end, ok, err := s.envelopeAt(pos)`,
		`	if bug("nothing is looked for after damage") {
		return -1, nil
	}
	start, cut, packed := pos, false, false
	end, ok, err := s.envelopeAt(pos)`, byDamage},
	{"internal/storage/fsck/survey_partition.go",
		`	return sp.s.disk.Torn(sp.sc, sp.p.base, tail)
`, `	if bug("a check takes for torn what recovery keeps") {
		return sp.head && sp.p.base+tail >= sp.s.disk.Synced(), nil
	}
	return sp.s.disk.Torn(sp.sc, sp.p.base, tail)
`, "^TestCheckExpectsWhatRecoveryDoes$"},
	{"internal/storage/scan/scan.go",
		`		return end, end == s.Size && !cut || (follows && pos < s.Synced), err`,
		`		return end, bug("a batch in a message is taken for one of the log") || end == s.Size && !cut || (follows && pos < s.Synced), err`, byDamage},
	{"internal/storage/scan/scan.go",
		`	return h, n, ok, err
}

// Holds`,
		`	return h, n, ok || bug("checksums are not checked"), err
}

// Holds`, byDamage},
	{"internal/storage/scan/scan.go",
		`	return err == nil && sum == h.CRC, err`,
		`	return err == nil && (sum == h.CRC || bug("checksums of large batches are not checked")), err`, "^TestScanLargeBatches$"},
	{"internal/storage/scan/scan.go",
		`	return h, n, perr == nil && n <= s.Size-pos && string(h.Topic) == s.Topic, nil`,
		`	return h, n, perr == nil && n <= s.Size-pos && (string(h.Topic) == s.Topic || bug("the topic in the envelope is not checked")), nil`, byDamage},
	{"internal/storage/scan/scan.go",
		`	return s.Holds(pos+n-h.Size, &h)`,
		`	if bug("batches of another topic are cut off as a torn tail") {
		return false, nil
	}
	return s.Holds(pos+n-h.Size, &h)`, "^TestBatchesOfAnotherTopicAreKept$"},
	{"internal/storage/create.go",
		`		case found == diagnose.Topic:`,
		`		case found == diagnose.Topic && !bug("a topic is made over a folder that is in use"):`, "^TestCreateOverAFolder$"},
	{"internal/storage/layout/ranges.go",
		`		return max(min(end, ranges[i].From), min(offset, end))`,
		`		if bug("damage is served") {
			return end
		}
		return max(min(end, ranges[i].From), min(offset, end))`, byDamage},

	// Journal, removal, truncation.
	{"internal/storage/journal/open.go",
		`	return true, j.sync()`,
		`	if bug("records of the journal are not synced") {
		return true, nil
	}
	return true, j.sync()`, byPowerCuts},
	{"internal/storage/journal/open.go",
		`	if err == nil && j.unnamed {`,
		`	if err == nil && j.unnamed && !bug("the journal's new name is not synced") {`, "^TestReleaseAfterFailedCompaction$"},
	{"internal/storage/journal/open.go",
		`	if err := j.Unsyncable(); err != nil {`,
		`	if err := j.Unsyncable(); err != nil && !bug("a sync of the journal that failed is tried again") {`, "^TestReleaseAfterFailedSync$"},
	{"internal/storage/journal/open.go",
		`	if j.shown != nil {
		ranges = *j.shown`,
		`	if j.shown != nil && !bug("what is healed is shown at once") {
		ranges = *j.shown`, "^TestJournal.*$"},
	{"internal/storage/journal/open.go",
		`	rec := Append(nil, kind, ints...)
	j.apply(rec)`,
		`	rec := Append(nil, kind, ints...)
	if bug("a note is written and does not count") {
		return j.append(rec)
	}
	j.apply(rec)`, "^TestJournal.*$"},
	{"internal/storage/commitlog/truncate.go",
		`	written, err := l.journal.Record(journal.Append(nil, journal.Cut, offset))`,
		`	if bug("a truncation is not announced") {
		return nil
	}
	written, err := l.journal.Record(journal.Append(nil, journal.Cut, offset))`, byPowerCuts},
	{"internal/storage/commitlog/truncate.go",
		`	if err := files.Truncate(p.File, offset-p.Base); err != nil {`,
		`	if bug("a truncation leaves a byte") {
		offset++
	}
	if err := files.Truncate(p.File, offset-p.Base); err != nil {`, byPowerCuts},
	{"internal/storage/commitlog/truncate.go",
		`	if i < 0 || aside >= 0 && aside < offset {`,
		`	if i < 0 || aside >= 0 && aside < offset && !bug("a log is cut off within damage") {`, "^TestTruncateTo.*$"},
	{"internal/storage/commitlog/truncate.go",
		`	if err := l.removeFiles(drop); err != nil {`,
		`	if bug("a truncation leaves the later partitions") {
	} else if err := l.removeFiles(drop); err != nil {`, byPowerCuts},
	{"internal/storage/commitlog/sync.go",
		`	defer l.folderSyncing.Unlock()
	return l.syncFolderLocked()`,
		`	defer l.folderSyncing.Unlock()
	if bug("removals are not synced") {
		return nil
	}
	return l.syncFolderLocked()`, byPowerCuts},
	{"internal/storage/retain/view.go",
		`	for n < len(v.Partitions)-1 && v.Reason(n, k) != topic.Keep {
		n++
	}`,
		`	for n < len(v.Partitions)-1 && v.Reason(n, k) != topic.Keep {
		n++
	}
	if n > 0 && n < len(v.Partitions)-1 && bug("one partition too many is removed") {
		n++
	}`, "^Test(Retention.*|Plan)$"},
	{"internal/storage/journal/journal.go",
		`	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())`,
		`	if err == nil && !bug("the journal is replaced by a copy that is not synced") {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())`, byPowerCuts},
	{"internal/storage/journal/journal.go",
		`	if n > recordHeader+maxPayload || n > len(b) || binary`,
		`	if n > recordHeader+maxPayload || n > len(b) || !bug("checksums of the journal are not checked") && binary`, "^TestJournal$"},
	{"internal/storage/commitlog/hold.go",
		`	if err := l.record(journal.Hooked, base); err != nil &&`,
		`	if bug("that a hook was run is not written down") {
	} else if err := l.record(journal.Hooked, base); err != nil &&`, "^TestHold.*$"},
	{"internal/storage/commitlog/hold.go",
		`		case !h.Hooked[p.Base]:`,
		`		case !h.Hooked[p.Base] && !bug("a partition is removed before its hook was run"):`, "^TestHold.*$"},
	{"internal/storage/retain/view.go",
		`	for n > 0 && v.Partitions[n].Base > v.Readable {`,
		`	for n > 0 && v.Partitions[n].Base > v.Readable && !bug("a partition that is not synced is due") {`, "^TestKeepFree.*$"},

	// Deletion, trimming, creation, and what a shortage leaves.
	{"internal/storage/delete.go",
		`	if !strings.EqualFold(id, layout.HexID(l.ID())) {`,
		`	if !strings.EqualFold(id, layout.HexID(l.ID())) && !bug("a topic is deleted that has another id") {`, "^TestDelete$"},
	{"internal/storage/delete.go",
		`	if !strings.EqualFold(id, layout.HexID(has)) {`,
		`	if !strings.EqualFold(id, layout.HexID(has)) && !bug("a topic that can't be opened is deleted whatever its id") {`, "^TestDeleteBroken$"},
	{"internal/storage/deleted/topics.go",
		`		err = errors.Join(d.syncDir(Dir), d.syncDir(path.Dir(dir)))
`, `		err = nil
		if !bug("DELETE does not sync the work directory") {
			err = errors.Join(d.syncDir(Dir), d.syncDir(path.Dir(dir)))
		}
`, "^TestDeleteCrash$"},
	{"internal/storage/deleted/topics.go",
		`		// Else a crash could lose what is to be kept.
		if err := d.syncDir(".")`,
		`		// Else a crash could lose what is to be kept.
		if bug("a topic is moved to a folder that is not synced") {
		} else if err := d.syncDir(".")`, "^TestDeleteCrash$"},
	{"internal/storage/files/folder.go",
		`	if f.gone.Load() {
		f.mu.RUnlock()`,
		`	if f.gone.Load() && !bug("a deleted topic uses the names of the next one") {
		f.mu.RUnlock()`, "^TestFolder$"},
	{"internal/storage/deleted/topics.go",
		`	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		// The topic stays.`,
		`	if err == nil && !bug("the mark of a deleted topic is not synced") {
		err = f.Sync()
	}
	if err != nil {
		// The topic stays.`, "^TestDeleteCrash$"},
	{"internal/storage/deleted/topics.go",
		`		if e.Name() == layout.Journal {
			continue`,
		`		if e.Name() == layout.Journal && !bug("the mark of a deleted topic goes before its files") {
			continue`, "^TestDeleteCrash$"},
	{"internal/storage/deleted/topics.go",
		`	if err := d.syncDir(dir); err != nil {
		return err
	}
	if err := d.FS.Remove(layout.JournalFile(dir))`,
		`	if bug("the mark of a deleted topic goes before it is durable that its files are gone") {
	} else if err := d.syncDir(dir); err != nil {
		return err
	}
	if err := d.FS.Remove(layout.JournalFile(dir))`, "^TestDeleteCrash$"},
	{"internal/storage/journal/journal.go",
		` == crc32.ChecksumIEEE(head[:12])
`, ` == crc32.ChecksumIEEE(head[:12]) || bug("damage is taken for the mark of a deleted topic")
`, "^TestDeletedMark$"},
	{"internal/storage/deleted/topics.go",
		`		due := !d.isMoving(folder) &&`,
		`		due := (!d.isMoving(folder) || bug("files go of a deleted topic that may come back")) &&`, "^TestDeletedMayComeBack$"},
	{"internal/storage/fsck/survey_files.go",
		`	if journal.IsDeleted(b) {
		s.deleted = true`,
		`	if journal.IsDeleted(b) && !bug("a topic that is being deleted is repaired") {
		s.deleted = true`, "^TestCheckDeletedCrash$"},
	{"internal/storage/commitlog/remove.go",
		`	if l.holder() != nil {`,
		`	if l.holder() != nil && !bug("partitions do not wait for their hooks") {`, "^Test(Trim|Hold).*$"},
	{"internal/storage/commitlog/trim.go",
		`	offset = min(offset, l.Readable())
`, `	if !bug("TRIM removes what is not readable yet") {
		offset = min(offset, l.Readable())
	}
`, "^TestTrim.*$"},
	{"internal/storage/create.go",
		`		s.unmake(name)
		return nil, wrap(file, err)`,
		`		if !bug("a creation that fails leaves a folder") {
			s.unmake(name)
		}
		return nil, wrap(file, err)`, "^TestShortages$/^room$/^create$"},
	{"internal/storage/commitlog/commit.go",
		`	if l.made && l.next.Load() == 0 &&`,
		`	if !bug("a topic stays whose first append was refused") && l.made && l.next.Load() == 0 &&`, "^TestShortages$/^room$/^create$"},
	{"internal/storage/create.go",
		`	case found == diagnose.HalfMade:`,
		`	case found == diagnose.HalfMade && !bug("what a creation has left is a topic"):`, "^TestDeleteCrash$"},
	{"internal/storage/create.go",
		`		s.halfMade[topic] = true
		s.reopening.arm()
`, `		s.halfMade[topic] = true
		if !bug("what a creation has left stays") {
			s.reopening.arm()
		}
`, "^TestShortages$/^descriptors$/^create$"},
	{"internal/storage/reopen.go",
		`	for _, topic := range r.store.lacking() {
`, `	for _, topic := range r.store.lacking() {
		if bug("a topic is not opened when there is what was missing") {
			break
		}
`, "^TestShortages$/^descriptors$/^start$"},
	{"internal/storage/storage.go",
		`	case files.Shortage(err):
		return s.reopen(`,
		`	case files.Shortage(err) && !bug("a topic is not opened when somebody asks for it"):
		return s.reopen(`, "^TestShortages$/^descriptors$/^start$"},
	{"internal/storage/commitlog/sync.go",
		`	if !files.NoDescriptor(err) {
		s.lacks.over()`,
		`	if bug("a topic fails when a descriptor is missing") && files.NoDescriptor(err) {
		return l.fail(op, file, -1, err)
	}
	if !files.NoDescriptor(err) {
		s.lacks.over()`, "^TestNamesWithoutDescriptors$"},
	{"internal/storage/commitlog/sync.go",
		`		if l.syncFailed.Load() != nil {
			l.drop`,
		`		if l.syncFailed.Load() != nil || bug("batches in doubt are cut off in a log that goes on") {
			l.drop`, "^TestNamesWithoutDescriptors$"},
	{"internal/storage/reopen.go",
		`	for _, l := range s.nameless() {
`, `	for _, l := range s.nameless() {
		if bug("names are not synced when there are descriptors") {
			break
		}
`, "^TestNamesWithoutDescriptors$"},

	// Times.
	{"internal/storage/commitlog/clock.go",
		`func (l *Log) appendTime(now int64) int64 {`,
		`func (l *Log) appendTime(now int64) int64 {
	if bug("a wrong time goes on in new partitions") {
		return max(now, l.parts.LastMillis)
	}
`, "^TestOneAppendAhead$"},
	{"internal/storage/partition/times.go",
		`		if next.Millis-now > retain.Doubt &&`,
		`		if !bug("SEEK believes times ahead of the clock") && next.Millis-now > retain.Doubt &&`, "^TestOneAppendAhead$"},
	{"internal/storage/retain/view.go",
		`	if recorded <= v.Now {
		least`,
		`	if bug("age believes times ahead of the clock") {
		return recorded
	}
	if recorded <= v.Now {
		least`, "^TestOneAppendAhead$"},
	{"internal/storage/retain/view.go",
		`		if fits(recorded) && changed >= recorded-Slack {`,
		`		if fits(recorded) && (changed >= recorded-Slack || bug("age believes a time that the file contradicts")) {`, "^TestAgeWhileTheClockIsBehind$"},
	{"internal/storage/retain/clock.go",
		`	if ahead <= Doubt {`,
		`	if ahead <= Doubt || bug("a clock that goes ahead is believed at once") {`, "^TestAgeWhenTheClockGoesAhead$"},
	{"internal/storage/retain/view.go",
		`	if p.Adopted &&`,
		`	if p.Adopted && !bug("adopted data has the time of its files") &&`, "^TestAgeOfAdoptedData$"},
	{"internal/storage/commitlog/read.go",
		`	return l.parts.Times(from, min(to, l.Readable()), limit)
`, `	if bug("TIMES tells of what can't be read") {
		return l.parts.Times(from, to, limit)
	}
	return l.parts.Times(from, min(to, l.Readable()), limit)
`, "^TestTimesCost$"},
	{"internal/storage/partition/times.go",
		`		offset := l.PastDamage(p.Base + e.Pos)
`, `		offset := l.PastDamage(p.Base + e.Pos)
		if bug("TIMES leads into damage") {
			offset = p.Base + e.Pos
		}
`, "^TestTimesOfDamage.*$"},

	// The index.
	{"internal/storage/index/index.go",
		`	if err != nil {
		ix.unwritten.Store(&e)
	}`,
		`	if err != nil && !bug("entries that were not written are not known") {
		ix.unwritten.Store(&e)
	}`, "^TestSeekWhereTheIndexHasNothing$"},
	{"internal/storage/index/block.go",
		`	if len(block) != blockLen || binary`,
		`	if len(block) != blockLen || !bug("checksums of the index are not checked") && binary`, "^TestDamageAnywhere$"},
	{"internal/storage/index/load.go",
		`	if string(head) != string(ix.header()) {`,
		`	if string(head) != string(ix.header()) && !bug("another topic's index is taken") {`, "^TestIndexIsACache$"},
	{"internal/storage/index/index.go",
		`func (ix *Index) Settle() error {
`, `func (ix *Index) Settle() error {
	if bug("entries of lost batches stay in the index") {
		ix.Stale = false
		return nil
	}
`, byPowerCuts},
	{"internal/storage/partition/open.go",
		`		if err := l.FS.Remove(layout.Index(l.Folder.Path(), base)); err != nil {`,
		`		if bug("indexes of lost partitions stay") {
			continue
		}
		if err := l.FS.Remove(layout.Index(l.Folder.Path(), base)); err != nil {`, "^TestOrphanedIndexIsRemoved$"},

	// Numbered batches.
	{"internal/storage/commitlog/commit.go",
		`				if o, store := l.numbers.Ask(&number, l.appended.Load()+batches); !store {`,
		`				if o, store := l.numbers.Ask(&number, l.appended.Load()+batches); !store && !bug("a batch that came again is stored again") {`, byNumbers},
	{"internal/storage/commitlog/commit.go",
		`			if knows {
				l.numbers.Stage(&number)`,
		`			if knows && !bug("numbers in one group are not known to each other") {
				l.numbers.Stage(&number)`, byNumbers},
	{"internal/storage/numbers/book.go",
		`		b.table.Drop()
`, `		if bug("what was refused is taken for stored") {
			b.table.Settle(b.table.Staged())
		}
		b.table.Drop()
`, byNumbers},
	{"internal/storage/numbers/load.go",
		`	if _, err := b.add(table, at, b.Log.Next()); err != nil {`,
		`	if bug("what follows the cache is not read") {
		at = b.Log.Next()
	}
	if _, err := b.add(table, at, b.Log.Next()); err != nil {`, byNumbers},
	{"internal/storage/numbers/cache.go",
		`	case o.Offset <= next && o.Topic == b.Log.ID():`,
		`	case o.Offset <= next && o.Topic == b.Log.ID(), bug("a cache is kept that knows of more than there is"):`, byNumbers},
	{"internal/storage/numbers/cache.go",
		`	if err = f.Truncate(0); err == nil {`,
		`	if bug("a cache that is removed may come back") {
		return errors.Join(f.Close(), fsys.Remove(name), fsys.SyncDir(b.Folder.Path()))
	}
	if err = f.Truncate(0); err == nil {`, byNumbers},
	{"internal/storage/numbers/cache.go",
		`|| o.Damage != damageBefore(aside, o.Offset):`,
		`|| o.Damage != damageBefore(aside, o.Offset) && !bug("damage is known from the cache"):`, byNumbers},
	{"internal/storage/partition/envelopes.go",
		`		if batches -= has; batches <= 0 {`,
		`		if batches -= has; batches <= 0 || bug("only the newest partition is looked through") {`, byNumbers},
	{"internal/storage/numbers/cache.go",
		`	if cache != nil && b.Log.Synced() >= at {`,
		`	if cache != nil && (b.Log.Synced() >= at || bug("a cache speaks of what is not synced")) {`, byNumbers},
	{"internal/storage/numbers/cache.go",
		`	fsys, name := b.Keeper.FS, b.file()
	f, err := fsys.OpenFile(name, vfs.ReadWrite, 0)`,
		`	fsys, name := b.Keeper.FS, b.file()
	if bug("a cache speaks of what was cut off") {
		return nil
	}
	f, err := fsys.OpenFile(name, vfs.ReadWrite, 0)`, byNumbers},
	{"internal/storage/numbers/book.go",
		`	if b.table != nil {
		b.table.Trim(`,
		`	if b.table != nil && !bug("what was trimmed is still known") {
		b.table.Trim(`, byNumbers},
	{"internal/storage/numbers/load.go",
		`	if b.Keeper.stopped.Load() || b.Keeper.Window() <= 0 || b.Log.Deleted() {`,
		`	if (b.Keeper.stopped.Load() || b.Keeper.Window() <= 0 || b.Log.Deleted()) && !bug("Close waits for a table that is made") {`, byNumbers},
	{"internal/storage/commitlog/sync_together.go",
		`g.Go(func() { done(l, l.syncWhole()) })`,
		`g.Go(func() {
				if bug("names are not synced beside others who sync") {
					done(l, l.SyncAll())
				} else {
					done(l, l.syncWhole())
				}
			})`, "^TestSyncTogether.*$"},
	{"internal/storage/retain/view.go",
		`	for v.Partitions[n].Base < base {`,
		`	for v.Partitions[n].Base < base || n < len(v.Partitions)-1 && bug("what was begun meanwhile is decided about") {`, "^TestUpTo$"},
	{"internal/storage/numbers/book.go",
		`	return made != nil && made == b.Journal.Damaged()`,
		`	return made != nil && (made == b.Journal.Damaged() || bug("what is set aside is still known"))`, byNumbers},
	{"internal/storage/numbers/book.go",
		`Ordinal: ordinal - a.Behind}`,
		`Ordinal: ordinal - a.Behind}
	if a.Verdict == producers.Duplicate && bug("what came again waits for another sync than the first copy") {
		o.Ordinal--
	}`, byNumbers},

	// The client's Writer.
	// Logs that are copies of others.
	{"internal/storage/commitlog/truncate.go",
		`	case how.unread && offset < l.Readable():`,
		`	case how.unread && offset < l.Readable() && !bug("a run takes the place of what is readable"):`, byRuns},
	{"internal/storage/commitlog/run.go",
		`join: !r.Roll}`,
		`join: !r.Roll && !bug("a partition stays that was begun for a run which is void")}`, byRuns},
	{"internal/storage/commitlog/truncate.go",
		`	if err := files.Truncate(p.File, offset-p.Base); err != nil {
		return err
	}
	ix := p.Index()`,
		`	if !bug("what a run takes the place of stays in the file") {
		if err := files.Truncate(p.File, offset-p.Base); err != nil {
			return err
		}
	}
	ix := p.Index()`, byRuns},
	{"internal/storage/commitlog/clock.go",
		`	return max(r.millis, last)`,
		`	if bug("the time of a run goes back") {
		return r.millis
	}
	return max(r.millis, last)`, byRuns},
	{"internal/storage/commitlog/clock.go",
		`	if l.parts.HeadSum.Batches == 0 {
		if p := partition.BeforeHead(`,
		`	if l.parts.HeadSum.Batches == 0 && !bug("the time of the batch before an empty partition is forgotten") {
		if p := partition.BeforeHead(`, byRuns},
	{"internal/storage/commitlog/led.go",
		`	if r.led == nil {`,
		`	if r.led == nil || bug("no partition begins with a leader's run") {`, byRuns},
	{"internal/storage/commitlog/led.go",
		`		numbered = numbered || hasNumbered(part.Extents)`,
		`		numbered = numbered || hasNumbered(part.Extents) && !bug("a leader does not look numbered batches up")`, byRuns},
	{"internal/storage/commitlog/led.go",
		`		g.numbered = numbered && l.store`,
		`		g.numbered = (numbered && !bug("parts without numbers are stored where others are refused") || hasNumbered(g.extents)) && l.store`, byRuns},

	{"internal/storage/commitlog/run.go",
		`	case offset != l.next.Load():`,
		`	case offset != l.next.Load() && !bug("a partition begins where the log does not end"):`, "^TestRoll$"},
	{"internal/storage/commitlog/run.go",
		`	case head.End.Load() == head.Base:
		return nil`,
		`	case head.End.Load() == head.Base && !bug("a partition begins twice"):
		return nil`, "^TestRoll$"},
	{"internal/storage/partition/view.go",
		` || layout.Clear(*l.Journal.Damaged(), from, to) < to {`,
		` || layout.Clear(*l.Journal.Damaged(), from, to) < to && !bug("what is set aside counts as stored") {`, "^Test(Stored|CheckRun)$"},
	{"internal/storage/commitlog/stored.go",
		`	for i := range v.Sections() {`,
		`	for i := range v.Sections() {
		if i > 0 && bug("of a run that is checked the first partition counts") {
			break
		}`, "^TestCheckRun$"},
	{"internal/storage/commitlog/reset.go",
		`	if err := l.removeFiles(old); err != nil {`,
		`	if bug("a log that is emptied leaves old files") {
		old = old[:1]
	}
	if err := l.removeFiles(old); err != nil {`, byReset},
	{"internal/storage/journal/open.go",
		`	s.Restart(base)`,
		`	s.Restart(base)
	if bug("that a log is emptied is not announced") {
		s.Cut = -1
	}`, byReset},
	{"internal/storage/commitlog/reset.go",
		`	if err := l.syncNames(); err != nil {`,
		`	if bug("a log that is emptied has a file without a name") {
	} else if err := l.syncNames(); err != nil {`, byReset},
	{"internal/storage/commitlog/reset.go",
		`	if err := l.numbers.RemoveCache(); err != nil {`,
		`	if bug("a log that is emptied knows the numbers that it had") {
	} else if err := l.numbers.RemoveCache(); err != nil {`, byReset},
	{"internal/storage/commitlog/reset.go",
		`	l.untell(head.Base)
`,
		`	if !bug("what was readable is readable when other bytes take its place") {
		l.untell(head.Base)
	}
`, byReset},
	{"internal/storage/diagnose/verdict.go",
		`	if keep == 1 && cut <= d.Journal.Trimmed.Oldest &&`,
		`	if !bug("of a log that was being emptied a file stays") && keep == 1 && cut <= d.Journal.Trimmed.Oldest &&`, byReset + "|^TestUnfinished$"},
	{"internal/storage/files/files.go",
		`	if cf.gone.Load() {
		return nil, false`,
		`	if cf.gone.Load() && !bug("a file that was removed is another one's of the same name") {
		return nil, false`, "^TestDiscard$"},
	{"internal/storage/commitlog/lost.go",
		`	return refillError(l.record(journal.Damaged, r.From, r.To))`,
		`	if bug("what is lost is noted in memory alone") {
		l.journal.Remember(journal.Damaged, r.From, r.To)
		return nil
	}
	return refillError(l.record(journal.Damaged, r.From, r.To))`, byRefill},
	{"internal/storage/commitlog/lost.go",
		`		for _, f := range fresh {
			records = journal.Append(`,
		`		for _, f := range fresh {
			if bug("what was counted with lost bytes holds after a crash") {
				break
			}
			records = journal.Append(`, byRefill},
	{"internal/storage/commitlog/lost.go",
		`	records := journal.Append(nil, journal.Trim, min(oldest, r.From), messages, batches)
`,
		`	records := journal.Append(nil, journal.Trim, min(oldest, r.From), messages, batches)
	if bug("a start trims a log that begins earlier again") {
		records = nil
	}
`, byRefill},
	{"internal/storage/commitlog/lost.go",
		`	if offset < l.next.Load() || head.Base == offset {`,
		`	if offset < l.next.Load() || head.Base == offset || bug("a log goes on before what it has lost") {`, byRefill},
	{"internal/storage/commitlog/lost.go",
		`		if part.From < part.To {`,
		`		if part.From < part.To && !bug("what is lost inside is still counted") {`, byRefill},
	{"internal/storage/commitlog/refill.go",
		`	return l.syncFile(f, "sync", g.p.File, g.From)`,
		`	if bug("what is put back is not synced") {
		return nil
	}
	return l.syncFile(f, "sync", g.p.File, g.From)`, byRefill},
	{"internal/storage/commitlog/refill.go",
		`	if err := l.record(journal.Damaged, from, to); err != nil {`,
		`	if bug("what is put back is not noted as set aside before it is written") {
	} else if err := l.record(journal.Damaged, from, to); err != nil {`, byRefill},
	{"internal/storage/commitlog/refill.go",
		`			if !ok {
				return fmt.Errorf("%w: no valid`,
		`			if !ok && bug("what does not fit is put back") {
				return nil
			}
			if !ok {
				return fmt.Errorf("%w: no valid`, byRefill},
	{"internal/storage/commitlog/refill.go",
		`	err := old.File.Remove()
	if err == nil {
		err = l.syncFolder()
	}`,
		`	var err error
	if !bug("an index stays that was made with other bytes") {
		err = old.File.Remove()
	}
	if err == nil && !bug("an index that was made with other bytes comes back") {
		err = l.syncFolder()
	}`, byRefill},
	{"internal/storage/commitlog/refill.go",
		`		healed, err := l.journal.RecordHidden(journal.Append(nil, journal.Healed, g.From, g.To))
`,
		`		healed, err := true, error(nil)
		if bug("that bytes are back is known until a restart") {
			l.journal.Remember(journal.Healed, g.From, g.To)
		} else {
			healed, err = l.journal.RecordHidden(journal.Append(nil, journal.Healed, g.From, g.To))
		}
`, byRefill},
	{"internal/storage/commitlog/refill.go",
		`			known = partition.WithTimes(known, g.p.Base, g.Range, times)
`,
		`			if !bug("the times of what is put back are made up") {
				known = partition.WithTimes(known, g.p.Base, g.Range, times)
			}
`, byRefill},
	{"internal/storage/journal/journal.go",
		`	maps.DeleteFunc(s.Ends, func(base int64, e PartitionEnd) bool { return base < r.To && e.End >= r.From })
`,
		`	if !bug("what was counted without bytes holds when they are back") {
		maps.DeleteFunc(s.Ends, func(base int64, e PartitionEnd) bool { return base < r.To && e.End >= r.From })
	}
`, byRefill + "|^TestHeal.*$"},
	{"internal/storage/numbers/load.go",
		`	if b.Keeper.Managed {
		if err := b.lacks`,
		`	if b.Keeper.Managed && !bug("batches that are set aside are stored again") {
		if err := b.lacks`, byNumbers},
	{"internal/storage/commitlog/log.go",
		`	l.NameMade(rootSeen)
	l.made =`,
		`	if !bug("a new topic counts as durable while its folder has no name") || l.Named() {
		l.NameMade(rootSeen)
	}
	l.made =`, byNew},
	{"internal/storage/commitlog/name.go",
		`	if err := l.sync(); err != nil || l.Named() {`,
		`	if bug("a topic gets its name before it is durable") {
	} else if err := l.sync(); err != nil || l.Named() {`, byNew},
	{"internal/storage/commitlog/name.go",
		`	err := l.syncRoot()
	if err == nil {
		err = queue.S`,
		`	var err error
	unsynced := bug("the name that a topic gets is not synced")
	if !unsynced {
		err = l.syncRoot()
	}
	if err == nil && !unsynced {
		err = queue.S`, byNew},
	{"internal/storage/files/folder.go",
		`	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone`,
		`	if !bug("a folder is moved under those who use names in it") {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	if f.gone`, "^TestFolderMove$"},
	{"internal/storage/diagnose/contents.go",
		`layout.IsNew(name) && isStarted(b)`,
		`layout.IsNew(name) && isStarted(b) && !bug("a new topic without batches is removed by a start")`, byNew},

	{"writer_send.go",
		`	if w.state != StateFailing {
		entered = w.failNow(cause)
	}
	switch {
	case s.Record != 0:
	case failure.Kept:
		w.buffer.Keep(s)
		w.buffer.Backlogged = true
`, `	early := bug("a batch is refused for a moment before the Writer is failing")
	if early {
		defer w.fail(cause)
	} else if w.state != StateFailing {
		entered = w.failNow(cause)
	}
	switch {
	case s.Record != 0:
	case failure.Kept:
		w.buffer.Keep(s)
		w.buffer.Backlogged = !early
`, "^TestWriterTellsTheTruth$"},
	{"writer_run.go",
		`	if w.state != StateFailing || w.cfg.StopOnError {`,
		`	if w.state != StateFailing || w.cfg.StopOnError && !bug("a Writer that has stopped goes on when its server is reached") {`,
		"^TestWriterStopsWhileReconnecting$"},
	{"internal/intake/account.go",
		`	a.miss(s, ErrDropped)
`, `	if !bug("Flush does not tell of what DropOldest has dropped") {
		a.miss(s, ErrDropped)
	}
`, "^TestWriterTellsTheTruth$"},
	{"internal/intake/flush.go",
		`	f := &Flush[R]{b: b, ticket: b.tickets, lost: b.untold, done: make(chan error, 1)}
`, `	f := &Flush[R]{b: b, ticket: b.tickets, lost: b.untold, done: make(chan error, 1)}
	if bug("Flush does not tell of what was lost before it") {
		f.lost = losses{}
	}
`, "^TestWriterTellsTheTruth$"},

	// Numbers that a Writer gives.
	{"internal/sequence/line.go",
		`	if l.answered > 0 {
		return c, false
	}
`, `	if l.answered > 0 && !bug("something is sent behind a batch that was refused") {
		return c, false
	}
`, byWriters},
	{"internal/sequence/line.go",
		`			return b.Number.PID == n.PID`,
		`			return b.Number.PID == n.PID || bug("batches of two producers are under way together")`, byWriters},
	{"internal/sequence/line.go",
		`		b.late = b.late || b.Doubt
`, `		b.late = b.late || b.Doubt && !bug("a batch of which a copy is on its way is split")
`, "^TestEachIsStoredOnce$"},
	{"writer_split.go",
		`!s.Num.Absent() ||`,
		`!s.Num.Absent() && !bug("a batch that may be stored is split") ||`, "^(TestWriterSoakLimits|TestWriterDoesNotSplitKept)$"},
	{"writer_split.go",
		`		w.numbers.Renew()
`, `		if !bug("smaller batches have the old producer") {
			w.numbers.Renew()
		}
`, "^(TestWriterSoakLimits|TestVectors)$"},
	{"backlog/disk_replace.go",
		`				seq++
`, `				seq++
				if bug("smaller batches of the backlog have the number of the one before") {
					seq = max(b.seq, seq-1)
				}
`, "^TestBacklogRewrite$"},
	{"internal/sequence/line.go",
		`		b.Doubt = b.Doubt || a.Doubt
`, `		b.Doubt = (b.Doubt || a.Doubt) && !bug("what was sent without an answer is not in doubt")
`, byWriters},
	{"internal/sequence/line.go",
		`	if next == 0 || next == first.Seq {`,
		`	if next == 0 || next == first.Seq || bug("a producer that is forgotten goes on with its numbers") {`, byWriters},
	{"internal/sequence/line.go",
		`	case a.Kind == OutOfOrder && a.Next > b.Number.Seq:
`, `	case a.Kind == OutOfOrder && a.Next >= b.Number.Seq && (a.Next > b.Number.Seq || bug("the number that is next counts as stored")):
`, byWriters},
	{"internal/sequence/numbers.go",
		`	case n.lost:
`, `	case map[bool]string{false: n.lost, true: "none"}[bug("a kept batch is sent with a number that no server takes")]:
`, byWriters},
	{"writer_send.go",
		`	if s.Num.Plain = number.Seq != 0 && !w.offered.Load(); s.Num.Plain {`,
		`	if bug("a batch that is sent again gets another number") && s.Num.Err != nil && s.Record == 0 {
		s.Num.Number = w.numbers.Take()
		number = s.Num.Number
	}
	if s.Num.Plain = number.Seq != 0 && !w.offered.Load(); s.Num.Plain {`, byWriters},
	{"writer_send.go",
		`		s.Encode(w.topic, s.Num.Number, w.packs())
		err :=`,
		`		s.Encode(w.topic, s.Num.Number, w.packs())
		if bug("a batch is kept without its number") {
			s.Encode(w.topic, sequence.Number{}, w.packs())
		}
		err :=`, byWriters},

	// The client's state.
	{"internal/durable/replace.go",
		`		err = f.Sync()
`, `		if !bug("a state is replaced by a copy that is not synced") {
			err = f.Sync()
		}
`, "^TestReplace.*$"},
	{"progress/tracker.go",
		`	for t.first < len(t.messages) && t.messages[t.first].done {`,
		`	for t.first < len(t.messages) && (t.messages[t.first].done || bug("a message that is not done is passed")) {`, "^TestProgress.*$"},
}

var seededName = regexp.MustCompile(`bug\("([^"]+)"\)`)

// bugsOf returns the names of the bugs of a place.
func bugsOf(place seededPlace) (names []string) {
	for _, m := range seededName.FindAllStringSubmatch(place.new, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// TestSeededBugs puts bugs into copies of the source, one at a time, and makes
// sure that the tests which prove our promises see each of them.
func TestSeededBugs(t *testing.T) {
	if setting(t, "LOGD_SEEDED_BUGS", 0) == 0 {
		t.Skip("this builds and runs other tests for some minutes: LOGD_SEEDED_BUGS=1 asks for it")
	}
	binaries := buildSeeded(t)
	for dir, binary := range binaries {
		if out, err := runSeeded(t, dir, binary, "none", byPowerCuts+"|"+byFaults+"|"+byDamage+"|^TestFile.*$|^TestReplace.*$"); err != nil {
			t.Fatalf("without a bug: %v\n%s", err, out)
		}
	}
	for _, place := range seededPlaces {
		for _, name := range bugsOf(place) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				out, err := "", error(nil)
				for try := 0; try < 3 && err == nil; try++ { // most judges are random
					out, err = judgeSeeded(t, binaries, place, name)
				}
				if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				if err == nil {
					t.Fatalf("%s do not see it:\n%s", place.judges, out)
				}
				t.Logf("%.600s", out)
			})
		}
	}
}

// judgeSeeded runs the tests that have to see a bug, of its package and of those that this is a
// room of, until one fails.
func judgeSeeded(t *testing.T, binaries map[string]string, place seededPlace, bug string) (out string, err error) {
	if place.judges == bySimulation || place.judges == byOrder {
		return runSeeded(t, "internal/cluster", binaries["internal/cluster"], bug, place.judges)
	}
	for dir := filepath.Dir(place.file); err == nil; dir = filepath.Dir(dir) {
		if binary := binaries[dir]; binary != "" {
			out, err = runSeeded(t, dir, binary, bug, place.judges)
		}
		if dir == "." {
			break
		}
	}
	return out, err
}

// runSeeded runs tests of a binary of buildSeeded with one of the bugs.
func runSeeded(t *testing.T, dir, binary, bug, judges string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", judges, "-test.failfast", "-test.timeout", (3 * patience).String())
	cmd.Dir = filepath.Join("..", dir)
	cmd.Env = environment("SEEDED_BUG="+bug, "LOGD_CRASH_RUNS=60", "LOGD_SIM_RUNS=200", "LOGD_GROUP_RUNS=4000", "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// buildSeeded builds the tests of every package that has a place for bugs, with
// all of them in it, and returns the binaries by the package's folder.
func buildSeeded(t *testing.T) map[string]string {
	t.Helper()
	temp, binaries := t.TempDir(), make(map[string]string)
	overlay := plantSeeded(t, temp, seededPlaces)
	for _, place := range seededPlaces {
		dir := filepath.Dir(place.file)
		if binaries[dir] != "" {
			continue
		}
		binaries[dir] = filepath.Join(temp, strings.ReplaceAll(dir, "/", "-")+".test")
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binaries[dir], "./"+dir)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s with bugs: %v\n%s", dir, err, out)
		}
	}
	return binaries
}

// plantSeeded writes copies of the source with bugs into a folder, and returns the name of
// a file that go build -overlay takes.
func plantSeeded(t *testing.T, temp string, places []seededPlace) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]string) // with the bugs, by name
	for _, place := range places {
		source, ok := sources[place.file]
		if !ok {
			whole, err := os.ReadFile(filepath.Join(root, place.file))
			if err != nil {
				t.Fatal(err)
			}
			source = string(whole)
			name := regexp.MustCompile(`(?m)^package \w+$`).FindString(source)
			sources[filepath.Join(filepath.Dir(place.file), "seeded.go")] = name + `

import "os"

var seededBug = os.Getenv("SEEDED_BUG")

func bug(name string) bool { return name == seededBug }
`
		}
		if n := strings.Count(source, place.old); n != 1 {
			t.Fatalf("%s has this %d times, want once:\n%s", place.file, n, place.old)
		}
		sources[place.file] = strings.Replace(source, place.old, place.new, 1)
	}
	replace := make(map[string]string)
	for name, source := range sources {
		changed := filepath.Join(temp, fmt.Sprint(len(replace), ".go"))
		replace[filepath.Join(root, name)] = changed
		if err := os.WriteFile(changed, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

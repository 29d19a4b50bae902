package storage

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
)

// deletedName is what the name of a folder in .deleted says:
//
//	<topic>~<when, in UTC>~<the topic's id>
//
// "now" stands for the time of what is to be removed at once. Of a long name the
// first maxDeletedTopic bytes are there. No topic has a ~ in its name.
type deletedName struct {
	topic string
	at    time.Time
	now   bool
	id    journal.ID
}

const (
	deletedTime     = "20060102T150405.000Z"
	maxDeletedTopic = 255 - len("~"+deletedTime+"~") - 2*len(journal.ID{})
)

// String returns the folder's name within the work directory, nothing if there
// is none.
func (d *deletedName) String() string {
	if d.topic == "" || d.now {
		return ""
	}
	return d.path()
}

func (d *deletedName) path() string {
	when := "now"
	if !d.now {
		when = d.at.UTC().Format(deletedTime)
	}
	return path.Join(deletedFolder, d.topic[:min(len(d.topic), maxDeletedTopic)]+"~"+when+"~"+hexID(d.id))
}

// parseDeleted parses the name of a folder in .deleted. It reports false for
// one that is not ours.
func parseDeleted(name string) (d deletedName, ok bool) {
	words := strings.Split(name, "~")
	if len(words) != 3 || !batch.ValidTopic(words[0]) {
		return d, false
	}
	d.topic = words[0]
	if n, err := hex.Decode(d.id[:], []byte(words[2][:min(len(words[2]), 2*len(d.id))])); err != nil || n != len(d.id) {
		return d, false
	}
	if d.now = words[1] == "now"; !d.now {
		var err error
		if d.at, err = time.Parse(deletedTime, words[1]); err != nil {
			return d, false
		}
	}
	return d, d.path() == path.Join(deletedFolder, name)
}

// deletions knows of the folders in .deleted. The time of those that were
// deleted since the start is not read from their names: it goes on evenly,
// whatever is done to the machine's clock.
type deletions struct {
	after time.Duration // how long they are kept; 0 for not at all

	mu   sync.Mutex           // held while folders are removed
	any  bool                 // there may be some
	seen map[string]time.Time // when their time began, by name

	// moving are those that a power cut may bring back where they were: nothing
	// of them may be removed.
	movingMu sync.Mutex
	moving   map[string]bool // by path
}

// move notes that a folder is being moved, or that it is moved for good.
func (d *deletions) move(folder string, done bool) {
	d.movingMu.Lock()
	defer d.movingMu.Unlock()
	if done {
		delete(d.moving, folder)
	} else {
		d.moving[folder] = true
	}
}

func (d *deletions) isMoving(folder string) bool {
	d.movingMu.Lock()
	defer d.movingMu.Unlock()
	return d.moving[folder]
}

func newDeletions(after time.Duration) *deletions {
	return &deletions{seen: make(map[string]time.Time), moving: make(map[string]bool), after: max(after, 0), any: true}
}

// leastFree is the room below which a disk counts as full: nobody waits for a
// deleted topic's time then.
const leastFree = 1 << 20

// discards reports whether the files of a topic that is deleted now are not
// kept.
func (s *Store) discards() bool { return s.deletions.after == 0 || s.isFull() }

// isFull reports whether the disk is short of room: appends are refused for
// want of it, or there is less than is to be kept free.
func (s *Store) isFull() bool {
	for _, l := range s.all() {
		if e := l.lastRefusal.Load(); e != nil && files.NoRoom(e) {
			return true
		}
	}
	free, err := s.fs.Free()
	return err == nil && free < max(leastFree, s.o.KeepFree)
}

// discard sees to what is left of a topic that was deleted just now.
func (s *Store) discard(kept deletedName) {
	if kept.topic == "" {
		return
	}
	d := s.deletions
	d.mu.Lock()
	defer d.mu.Unlock()
	d.any = true
	d.seen[path.Base(kept.path())] = s.o.Clock.Now()
	if !kept.now {
		return
	}
	s.files.Evict(0) // open files would keep the room
	st, err := s.fs.Stat(kept.path())
	if err == nil {
		err = s.removeTree(kept.path(), st.IsDir())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("files of a deleted topic can't be removed; it is tried again", "topic", kept.topic, "folder", kept.path(), "err", err)
		return
	}
	delete(d.seen, path.Base(kept.path()))
}

// emptyDeleted removes the folders in .deleted whose time has come, and all of
// them if the disk is full. Retention calls it.
func (s *Store) emptyDeleted() {
	d := s.deletions
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.any {
		return
	}
	entries, err := s.fs.ReadDir(deletedFolder)
	if err != nil {
		if d.any = !errors.Is(err, fs.ErrNotExist); d.any {
			s.log.Error("deleted topics can't be listed; it is tried again", "folder", deletedFolder, "err", err)
		}
		return
	}
	now := s.o.Clock.Now()
	full := len(entries) > 0 && s.isFull()
	d.any = false
	synced := false
	for _, e := range entries {
		name, ok := parseDeleted(e.Name())
		link := e.Type()&fs.ModeSymlink != 0 // a topic's folder that was one
		if !ok || !e.IsDir() && !link {
			continue // not ours
		}
		if d.seen[e.Name()].IsZero() {
			// Deleted before this start: as old as its name says, if that can be.
			d.seen[e.Name()] = name.at
			if name.at.After(now) {
				d.seen[e.Name()] = now
			}
		}
		folder := path.Join(deletedFolder, e.Name())
		due := !s.deletions.isMoving(folder) && (name.now || full || now.Sub(d.seen[e.Name()]) >= d.after)
		if !due {
			d.any = true
			continue
		}
		if !synced {
			// A kill may have left one that is not moved for good.
			err, synced = errors.Join(s.syncDir(deletedFolder), s.syncDir(".")), true
		}
		if err == nil {
			err = s.removeTree(folder, e.IsDir())
		}
		if err != nil {
			d.any = true
			s.log.Error("files of a deleted topic can't be removed; it is tried again", "topic", name.topic, "folder", folder, "err", err)
			continue
		}
		delete(d.seen, e.Name())
		s.log.Info("files of a deleted topic removed", "topic", name.topic, "folder", folder)
	}
}

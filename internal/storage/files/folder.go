package files

import (
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/topic"
)

// Folder is where a topic's files are. It may be moved. Its names mean nothing any
// more once the topic is deleted: another topic may have them then.
type Folder struct {
	// mu is held for reading around each use of a name in the folder that is not
	// otherwise kept apart from deletion and moves, and for writing meanwhile.
	mu   sync.RWMutex
	gone atomic.Bool
	path atomic.Pointer[string]
}

// NewFolder returns a folder by its name.
func NewFolder(path string) *Folder {
	f := new(Folder)
	f.path.Store(&path)
	return f
}

// Path returns the folder's name. It stays the same while a name in the folder may
// be used.
func (f *Folder) Path() string { return *f.path.Load() }

// Move calls move, which gives the folder another name, while no name in it is in
// use. If that succeeds it has the name from then on.
func (f *Folder) Move(path string, move func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone.Load() {
		return ErrDeleted
	}
	if err := move(); err != nil {
		return err
	}
	f.path.Store(&path)
	return nil
}

// Enter returns when the names in the folder may be used, until Leave is
// called. The error is ErrDeleted.
func (f *Folder) Enter() error {
	f.mu.RLock()
	if f.gone.Load() {
		f.mu.RUnlock()
		return ErrDeleted
	}
	return nil
}

// Leave ends the use of names that Enter has begun.
func (f *Folder) Leave() { f.mu.RUnlock() }

// Take calls move while no name in the folder is in use. If move reports true
// the folder is gone, and no name in it can be used any more.
func (f *Folder) Take(move func() (gone bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone.Store(move())
}

// IsGone reports whether the folder is gone.
func (f *Folder) IsGone() bool { return f.gone.Load() }

// ErrDeleted is the use of a log whose topic was deleted. Nothing of the call
// is stored; another topic may have the name by now.
var ErrDeleted = topic.ErrDeleted

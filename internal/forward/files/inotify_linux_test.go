package files

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// inotify has the kernel's events of what a test does, and hands them out when the test
// wants it to: the watcher's own goroutine, which waits for them, would keep the time of a
// bubble from going by.
type inotify struct {
	mu    sync.Mutex
	fd    int
	names map[uint32]string
}

func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	return &inotify{fd: fd, names: make(map[uint32]string)}, err
}

func (n *inotify) notifier() *notifier {
	ended := make(chan fsnotify.Event)
	return &notifier{events: ended, add: n.add, remove: n.remove, close: func() error {
		close(ended)
		return unix.Close(n.fd)
	}}
}

func (n *inotify) add(dir string) error {
	wd, err := unix.InotifyAddWatch(n.fd, dir, unix.IN_ATTRIB|unix.IN_CREATE|unix.IN_DELETE|unix.IN_DELETE_SELF|
		unix.IN_MODIFY|unix.IN_MOVED_FROM|unix.IN_MOVED_TO|unix.IN_MOVE_SELF)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[uint32(wd)] = dir
	return err
}

func (n *inotify) remove(dir string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for wd, name := range n.names {
		if name == dir {
			unix.InotifyRmWatch(n.fd, wd)
			delete(n.names, wd)
		}
	}
	return nil
}

// next returns what has happened since it was asked last.
func (n *inotify) next() (all []fsnotify.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	buf := make([]byte, 64<<10)
	for {
		got, err := unix.Read(n.fd, buf)
		if err != nil || got == 0 {
			return all
		}
		for b := buf[:got]; len(b) > 0; {
			const head = unix.SizeofInotifyEvent
			wd, mask, size := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
			path := n.names[wd]
			if name := string(bytes.TrimRight(b[head:head+size], "\x00")); name != "" {
				path = filepath.Join(path, name)
			}
			b = b[head+size:]
			op := fsnotify.Chmod
			switch {
			case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
				op = fsnotify.Create
			case mask&(unix.IN_DELETE|unix.IN_DELETE_SELF) != 0:
				op = fsnotify.Remove
			case mask&(unix.IN_MOVED_FROM|unix.IN_MOVE_SELF) != 0:
				op = fsnotify.Rename
			case mask&unix.IN_MODIFY != 0:
				op = fsnotify.Write
			}
			all = append(all, fsnotify.Event{Name: path, Op: op})
		}
	}
}

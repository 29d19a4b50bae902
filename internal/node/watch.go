package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// watchEvery is how often files are looked at. What has changed is taken when it was
// the same twice: so nobody reads half a file, or a new certificate with an old key.
const watchEvery = 5 * time.Second

// watch tells when files have changed: their names, sizes, times, modes, or which files
// they are, as after a rename or another target of a symbolic link, also one on the way.
// What is in them it does not read.
type watch struct {
	seen string // at the last look
	used string // what was taken
}

// look reports whether the files are others than those that were taken, and have been
// so since the look before.
func (w *watch) look(files []string) bool {
	before := w.seen
	w.seen = signature(files)
	return w.seen != w.used && w.seen == before
}

// taken notes that the files are in use, or refused, as they were at the last look:
// that is before they were read, so that a change meanwhile is not missed.
func (w *watch) taken() { w.used = w.seen }

func signature(files []string) string {
	var b strings.Builder
	for _, name := range files {
		st, err := os.Stat(name)
		if err != nil {
			errno, _ := errors.AsType[syscall.Errno](err)
			fmt.Fprintf(&b, "%q %d\n", name, int(errno))
			continue
		}
		var device, inode uint64
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			device, inode = uint64(sys.Dev), sys.Ino
		}
		fmt.Fprintf(&b, "%q %v %d %d %d %d\n", name, st.Mode(), device, inode, st.Size(), st.ModTime().UnixNano())
	}
	return b.String()
}

package logd

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A file that is replaced as a whole is written under another name beside it
// first: the file's own, a number that nobody can foresee, and ".tmp". The name
// is taken only if nothing has it. In a folder in which others may write, a name
// that everybody knows could be a link that leads anywhere.

// createTemporary makes a file of the mode to take the place of the one of the
// path.
func createTemporary(path string, mode fs.FileMode) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// removeTemporary removes what crashes have left of the files that
// createTemporary made. It is for the one user of the path: a file that somebody
// else is just making is removed, too. What cannot be removed stays, and does no
// harm.
func removeTemporary(path string) {
	folder, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(folder, "."))
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base+".")
		number, ok2 := strings.CutSuffix(rest, ".tmp")
		if _, err := strconv.ParseUint(number, 10, 64); ok && ok2 && err == nil && e.Type().IsRegular() {
			os.Remove(folder + e.Name())
		}
	}
}

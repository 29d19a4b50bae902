package grouplog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs"
)

const (
	tablePrefix = "table-"
	maxTableLen = 1 << 30
)

// tableName returns the name of a table's file. With its checksum in it a table
// never takes the place of another one.
func tableName(group int, t TableRef) string {
	return fmt.Sprintf("%s%d-%d-%08x", tablePrefix, group, t.Index, t.CRC)
}

// writeTable puts a table on stable storage. The checksum that names it is the one
// that it ends with: that of all of it would be the same for every table.
func writeTable(fsys vfs.FS, t *entry.Table) (TableRef, error) {
	b := t.Encode()
	ref := TableRef{t.Index, t.Term, binary.LittleEndian.Uint32(b[len(b)-4:])}
	_, err := writeFile(fsys, Dir, tableName(int(t.Group), ref), b)
	return ref, err
}

// readTable reads a table that the log needs.
func readTable(fsys vfs.FS, group int, ref TableRef) (*entry.Table, error) {
	name := Dir + "/" + tableName(group, ref)
	b, err := readFile(fsys, name, maxTableLen)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damage(name, 0, "missing")
	}
	if err != nil {
		return nil, err
	}
	t, err := entry.DecodeTable(b)
	switch {
	case errors.Is(err, ErrNewer):
		return nil, fmt.Errorf("%s: %w", name, err)
	case err != nil || int(t.Group) != group || t.Index != ref.Index || t.Term != ref.Term ||
		binary.LittleEndian.Uint32(b[len(b)-4:]) != ref.CRC:
		return nil, damage(name, 0, "not the table that the log names")
	}
	return t, nil
}

// tidy removes older files, files that have no name yet, and tables that nothing
// names. What can't be removed, or comes back, does no harm, and is removed with
// the next file.
func (l *Log) tidy() {
	needed := make(map[string]bool)
	for i := range l.groups {
		needed[tableName(i, l.groups[i].Table)] = true
		needed[l.groups[i].pending] = true
	}
	remove := func(dir string, stale func(name string) bool) {
		entries, err := l.fs.ReadDir(dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			if stale(e.Name()) {
				l.fs.Remove(dir + "/" + e.Name())
			}
		}
	}
	remove(logDir, func(name string) bool {
		n, ok := fileNumber(strings.TrimSuffix(name, unnamed))
		return ok && (n < l.number || strings.HasSuffix(name, unnamed))
	})
	remove(Dir, func(name string) bool {
		return strings.HasPrefix(name, tablePrefix) && !needed[name] || name == memberFile[len(Dir)+1:]+unnamed
	})
}

// fileNumber returns the number of a file of the log.
func fileNumber(name string) (uint32, bool) {
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err == nil && n > 0 && strconv.FormatUint(n, 10) == name
}

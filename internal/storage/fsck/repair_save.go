package fsck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"time"

	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// What a repair takes out goes to a folder of its own in the work directory,
// whose name no topic can have: the bytes to <topic>/<file>-<position>-<length>,
// and a line about them to the report, which is only ever appended to. A copy is
// never overwritten. The report's name, too, is no topic's.
const (
	SavedDir   = ".repaired"
	ReportName = SavedDir + "/.report"
)

// maxCopies bounds the copies of one place with different bytes.
const maxCopies = 1000

// ReportLine is one line of the report, as JSON.
type ReportLine struct {
	Time     string `json:"time"`
	Topic    string `json:"topic"`
	File     string `json:"file"`
	Position int64  `json:"position"`
	Offset   int64  `json:"offset"` // -1: not of the log
	Length   int64  `json:"length"`
	CRC      uint32 `json:"crc32"`
	Saved    string `json:"saved"`
	Why      string `json:"why"`
}

// nameCopy finds the name for the copy of a range, and its checksum. It reports
// true if the copy is there already, from a repair that was interrupted.
func (m *mender) nameCopy(a *Action) (there bool, err error) {
	f, err := m.o.FS.OpenFile(a.File, vfs.ReadOnly, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	from := max(a.Position, 0)
	if a.CRC, err = checksumOf(m, f, from, a.Length); err != nil {
		return false, err
	}
	name := fmt.Sprintf("%s/%s-%d-%d", SavedDir, a.File, from, a.Length)
	for n := 2; n < maxCopies; n++ {
		same, err := m.sameCopy(name, a)
		if errors.Is(err, fs.ErrNotExist) && !m.saved[name] {
			a.SavedAs, m.saved[name] = name, true
			return false, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if same {
			a.SavedAs, m.saved[name] = name, true
			return true, nil
		}
		name = fmt.Sprintf("%s/%s-%d-%d.%d", SavedDir, a.File, from, a.Length, n)
	}
	return false, fmt.Errorf("more than %d copies in %s", maxCopies, SavedDir)
}

// sameCopy reports whether a file is a copy of what a is to save.
func (m *mender) sameCopy(name string, a *Action) (bool, error) {
	f, err := m.o.FS.OpenFile(name, vfs.ReadOnly, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() != a.Length {
		return false, err
	}
	crc, err := checksumOf(m, f, 0, a.Length)
	return crc == a.CRC, err
}

// eachChunk reads a range of a file piece by piece.
func (m *mender) eachChunk(f vfs.File, from, length int64, use func(b []byte, at int64) error) error {
	b := make([]byte, min(scan.Chunk, length))
	for done := int64(0); done < length; done += int64(len(b)) {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		b = b[:min(int64(len(b)), length-done)]
		if err := vfs.ReadFull(f, b, from+done); err != nil {
			return err
		}
		if err := use(b, done); err != nil {
			return err
		}
	}
	return nil
}

func checksumOf(m *mender, f vfs.File, from, length int64) (crc uint32, err error) {
	err = m.eachChunk(f, from, length, func(b []byte, _ int64) error {
		crc = crc32.Update(crc, crc32.IEEETable, b)
		return nil
	})
	return crc, err
}

// save copies a range to SavedDir and reports it. The copy has its name only
// when it is whole and on stable storage.
func (m *mender) save(a *Action) error {
	there, err := m.nameCopy(a)
	if err != nil {
		return err
	}
	if !there {
		for _, dir := range savedDirs(path.Dir(a.File)) {
			if err := m.o.FS.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		if err := m.copy(a); err != nil {
			return err
		}
	}
	return m.reportCopy(a)
}

func (m *mender) copy(a *Action) error {
	from, err := m.o.FS.OpenFile(a.File, vfs.ReadOnly, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	temp := a.SavedAs + ".new"
	to, err := m.o.FS.OpenFile(temp, vfs.ReadWrite|vfs.Create|vfs.Truncate, m.perm)
	if err != nil {
		return err
	}
	crc := uint32(0)
	err = m.eachChunk(from, max(a.Position, 0), a.Length, func(b []byte, at int64) error {
		crc = crc32.Update(crc, crc32.IEEETable, b)
		_, err := to.WriteAt(b, at)
		return err
	})
	if err == nil && crc != a.CRC {
		err = errors.New("the bytes change from one read to the next")
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	return m.o.FS.Rename(temp, a.SavedAs)
}

// reportCopy appends the line about a copy to the report, unless it is there.
func (m *mender) reportCopy(a *Action) error {
	f, err := m.o.FS.OpenFile(ReportName, vfs.ReadWrite|vfs.Create, m.perm)
	if err != nil {
		return err
	}
	err = m.appendLine(f, a)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (m *mender) appendLine(f vfs.File, a *Action) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	old := make([]byte, st.Size())
	if err := vfs.ReadFull(f, old, 0); err != nil {
		return err
	}
	line, err := json.Marshal(ReportLine{
		Time: m.o.Now().UTC().Format(time.RFC3339), Topic: a.Topic, File: a.File, Position: max(a.Position, 0), Offset: a.Offset,
		Length: a.Length, CRC: a.CRC, Saved: a.SavedAs, Why: a.Why,
	})
	if err != nil {
		return err
	}
	for have := range bytes.Lines(old) {
		var l ReportLine
		if json.Unmarshal(have, &l) == nil && l.Saved == a.SavedAs {
			return nil
		}
	}
	// A line that a crash cut short stays a line of its own.
	if len(old) > 0 && old[len(old)-1] != '\n' {
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.WriteAt(append(line, '\n'), st.Size())
	return err
}

// savedDirs returns the folders that the copies from a topic's folder are in, from the
// outermost on.
func savedDirs(topic string) []string {
	dirs := []string{SavedDir}
	for i, c := range topic {
		if c == '/' {
			dirs = append(dirs, path.Join(SavedDir, topic[:i]))
		}
	}
	return append(dirs, path.Join(SavedDir, topic))
}

// syncCopies makes the names of the copies durable.
func (t *topicRepair) syncCopies() error {
	fsys := t.o.FS
	if _, err := fsys.Stat(SavedDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var err error
	for _, dir := range savedDirs(t.s.topic) {
		if serr := fsys.SyncDir(dir); !errors.Is(serr, fs.ErrNotExist) { // else nothing was taken out of this topic
			err = errors.Join(err, serr)
		}
	}
	return errors.Join(err, fsys.SyncDir("."))
}

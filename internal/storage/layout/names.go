// Package layout says what is where in a work directory: the names of files and
// folders, what a name means, ranges of offsets and positions, and whose lock
// the directory is under. It reads and writes no data.
//
//	<work directory>/
//	    .lock                   locked by the server that uses the directory
//	    LOCK                    the lock file of older versions, if there is one
//	    .new/<topic>.<id>/      a topic that does not have its name yet, as below
//	    .new/<id>/<topic>/      the same, if the name is too long for that
//	    <topic>/
//	        <base offset>.log   a partition: batches, and nothing else
//	        <base offset>.idx   its index, a cache
//	        journal             what the log can't say itself
//	        producers           its numbered batches, a cache
package layout

import (
	"encoding/hex"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
)

// Journal is the name of the journal in a topic's folder.
const Journal = "journal"

// Producers is the name of the cache of numbered batches in a topic's folder.
const Producers = "producers"

// Whoever uses a work directory holds the lock on its lock file. Older versions
// lock another file, whose name may be a topic's.
const (
	LockName    = ".lock"
	OldLockName = "LOCK"
)

// New is the folder of topics that do not have their names yet.
const New = ".new"

// idLen is the length of a topic's id in a folder's name.
const idLen = 2 * 16

// maxFileName is how long the name of a file or folder may be.
const maxFileName = 255

// NewFolder returns the folder of a topic that does not have its name yet: another
// may have it.
func NewFolder(topic string, id [16]byte) string {
	if len(topic)+len(".")+idLen > maxFileName {
		return path.Join(New, HexID(id), topic)
	}
	return path.Join(New, topic+"."+HexID(id))
}

// IsNew reports whether a topic's folder is that of one without its name.
func IsNew(dir string) bool { return strings.HasPrefix(dir, New+"/") }

// ParseNew returns which topic a folder is of that is New's, or that of an id in New. It
// reports false if it is not logd's.
func ParseNew(dir string) (topic string, id [16]byte, ok bool) {
	name, isNew := strings.CutPrefix(dir, New+"/")
	if !isNew {
		return "", id, false
	}
	hexID, topic, nested := strings.Cut(name, "/")
	if at := len(name) - idLen; !nested && at >= 2 && name[at-1] == '.' {
		hexID, topic = name[at:], name[:at-1]
	}
	if !batch.ValidTopic(topic) {
		return "", id, false
	}
	if n, err := hex.Decode(id[:], []byte(hexID)); err != nil || n != len(id) {
		return "", id, false
	}
	return topic, id, NewFolder(topic, id) == dir
}

// IsNewID reports whether a folder in New has that of a topic with a long name, in a folder
// that is called as the topic's id.
func IsNewID(name string) bool {
	var id [16]byte
	n, err := hex.Decode(id[:], []byte(name[:min(len(name), idLen)]))
	return err == nil && n == len(id) && HexID(id) == name
}

// NewID returns the id of the topic that a folder in New is of. It reports false if
// dir is none.
func NewID(dir string) (id [16]byte, ok bool) {
	_, id, ok = ParseNew(dir)
	return id, ok
}

// HexID returns an id as it is told, and as names have it.
func HexID(id [16]byte) string { return hex.EncodeToString(id[:]) }

// TopicOf returns the name of the topic whose folder dir is.
func TopicOf(dir string) string {
	if topic, _, ok := ParseNew(dir); ok {
		return topic
	}
	return dir
}

// Partition returns the name of the partition of a topic that begins at base.
func Partition(topic string, base int64) string {
	return path.Join(topic, strconv.FormatInt(base, 10)+".log")
}

// Index returns the name of the index of the partition at base.
func Index(topic string, base int64) string {
	return path.Join(topic, strconv.FormatInt(base, 10)+".idx")
}

// IsIndex reports whether name is that of a partition's index.
func IsIndex(name string) bool {
	num, ok := strings.CutSuffix(name, ".idx")
	if !ok {
		return false
	}
	_, ok = Base(num + ".log")
	return ok
}

// Base returns the base offset that a partition's file name, without its
// folder, says.
func Base(name string) (int64, bool) {
	num, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0, false
	}
	return batch.ParseInt([]byte(num))
}

// JournalFile returns the name of the journal of a topic.
func JournalFile(dir string) string { return path.Join(dir, Journal) }

// ProducersFile returns the name of the cache of numbered batches of a topic.
func ProducersFile(dir string) string { return path.Join(dir, Producers) }

// IsFolder reports whether a name in the work directory may be a topic's
// folder, or leads to one.
func IsFolder(d fs.DirEntry) bool { return d.IsDir() || d.Type()&fs.ModeSymlink != 0 }

// LockNames are the files in a work directory whose locks its user holds.
var LockNames = []string{LockName, OldLockName}

// Reserved reports whether a name in the work directory is the server's own, or
// the file system's: it is no topic, and nothing to tell anybody of.
func Reserved(name string) bool { return name[0] == '.' || name == "lost+found" }

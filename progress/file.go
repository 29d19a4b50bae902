package progress

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/durable"
)

// Errors of a File. Test for them with errors.Is.
var (
	// ErrDamaged: the file is not what was written. Where to begin is for
	// a person to decide, who then removes it.
	ErrDamaged = errors.New("progress file is damaged")
	// ErrVersion: the file was written by a newer version of this package.
	ErrVersion = errors.New("progress file is of a newer version")
)

// errClosed is logd.ErrClosed: the File is closed.
var errClosed error = closedError{}

type closedError struct{}

func (closedError) Error() string { return "progress is closed" }

func (closedError) Is(target error) bool { return target == logd.ErrClosed }

// Sync is when a File puts what it knows on stable storage.
type Sync uint8

const (
	// SyncEverySave syncs the file, and its folder, each time it is replaced.
	SyncEverySave Sync = iota
	// SyncOnClose syncs only in Close and Save. A power cut before may take the
	// file back to any older one, or damage it, which is then said.
	SyncOnClose
)

// String returns the constant's name.
func (s Sync) String() string {
	if names := [...]string{"SyncEverySave", "SyncOnClose"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("Sync(%d)", s)
}

// FileConfig says where and how often a File is written. The
// zero value of every field but Path is its documented default: a crash brings
// back the messages of one batch at most.
type FileConfig struct {
	// Path is the file. Its folder must exist. While the file is replaced there
	// is a new file beside it, of the same name, a number and ".tmp". One
	// File at a time may use it, for one topic: it does not say which.
	Path string
	// FileMode is the mode of the file. Default: 0600.
	FileMode fs.FileMode
	// Sync is when the file is put on stable storage. Default: SyncEverySave.
	Sync Sync

	// The file is replaced when the oldest message that is not done is of another
	// batch than before, by the Done that makes it so, and at the first Started of
	// all.

	// SaveMessages makes that also happen after so many messages of one batch
	// that are done. Default: no such limit.
	SaveMessages int64
	// SaveInterval makes it happen less often: not before so much time has
	// gone by since the last time. A crash brings back what was done in that
	// time. Default: no such limit.
	SaveInterval time.Duration

	// Begin is the position while there is no file. Default: the zero
	// Position, which is the Scanner's Start.
	Begin logd.Position
	// MaxStarted is how many messages may be started and not done.
	// Default: DefaultMaxStarted; logd.Unlimited: no limit.
	MaxStarted int64
}

// Validate returns an error that names the field, its value and the allowed
// range if a File cannot work with cfg.
func (cfg *FileConfig) Validate() error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("logd: progress.FileConfig.%s is %v: want %s", field, value, want)
	}
	_, err := cfg.Begin.MarshalText()
	switch {
	case cfg.Path == "":
		return bad("Path", `""`, "the name of a file")
	case cfg.FileMode != 0 && (cfg.FileMode&^fs.ModePerm != 0 || cfg.FileMode&0o600 != 0o600):
		return bad("FileMode", fmt.Sprintf("%#o", uint32(cfg.FileMode)), "0 (the default), or permissions from 0600 to 0777 that let the owner read and write")
	case cfg.Sync > SyncOnClose:
		return bad("Sync", cfg.Sync, "SyncEverySave or SyncOnClose")
	case cfg.SaveMessages < 0:
		return bad("SaveMessages", cfg.SaveMessages, "0 (no limit) or more")
	case cfg.SaveInterval < 0:
		return bad("SaveInterval", cfg.SaveInterval, "0 (no limit) or more")
	case cfg.SaveMessages > 0 && cfg.SaveInterval > 0:
		return bad("SaveMessages", cfg.SaveMessages, "0 with a SaveInterval: the one is for more, the other for less")
	case err != nil:
		return bad("Begin", cfg.Begin, "an offset, a delta and a number of 0 or more")
	case cfg.MaxStarted < logd.Unlimited:
		return bad("MaxStarted", cfg.MaxStarted, "0 (the default) or more, or Unlimited (-1)")
	}
	return nil
}

// File is a [logd.Progress] that outlasts the program, in a file. All methods are
// safe for concurrent use. The memory it takes is that of a [Memory].
//
// The file is replaced as a whole: whenever the program or the machine ends,
// there is the old one or the new one. A file that is neither is refused, and
// never taken for the beginning.
type File struct {
	cfg   FileConfig
	files durable.System

	mu      sync.Mutex
	tracker tracker
	done    int64 // how many messages were done since the last save
	closed  bool

	// saving is held while the file is replaced, and taken before mu.
	saving sync.Mutex
	// Guarded by both; either is enough to read them.
	saved   logd.Position
	savedAt time.Time
	savedOf string // id of the topic
}

// OpenFile returns a File that knows what is in the file. No file knows
// nothing; one that cannot be read is an error: ErrDamaged, ErrVersion, or the operating system's.
func OpenFile(cfg FileConfig) (*File, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.FileMode == 0 {
		cfg.FileMode = 0o600
	}
	s := &File{cfg: cfg, files: durable.OS}
	at, topic, err := read(cfg.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.tracker.begin(cfg.Begin)
	case err != nil:
		return nil, fmt.Errorf("logd: open progress: %w", err)
	default:
		s.saved, s.savedOf = at, topic
		s.tracker.begin(at)
		s.tracker.topic = topic
	}
	durable.Clean(cfg.Path)
	return s, nil
}

// Position implements logd.Progress.
func (s *File) Position() (logd.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return logd.Position{}, errClosed
	}
	s.tracker.restart()
	return s.tracker.position(), nil
}

// TopicID implements logd.TopicProgress.
func (s *File) TopicID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracker.topic
}

// SetTopicID implements logd.TopicProgress. The file has the id at the next Started.
func (s *File) SetTopicID(id string) error {
	if !validID(id) {
		return fmt.Errorf("logd: %q is no id of a topic", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.tracker.ofTopic(id)
	return nil
}

// Peek returns what Position would, and changes nothing.
func (s *File) Peek() logd.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracker.position()
}

// Started implements logd.Progress. For the first message of all it returns when
// the file is there: where the next program begins must not depend any more on
// what the oldest message, or the next, is by then.
func (s *File) Started(id logd.ID) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	err := s.tracker.start(id, s.cfg.MaxStarted)
	_, named := s.saved.ID()
	known := named && s.savedOf == s.tracker.topic
	s.mu.Unlock()
	if err != nil || known {
		return err
	}
	return s.saveIfDue()
}

// BatchEnd implements logd.Progress.
func (s *File) BatchEnd(id logd.ID, next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tracker.batchEnd(id, next)
	return nil
}

// Done implements logd.Progress. It returns when the file is replaced, if that is
// due. If that fails the message is done all the same, and the next Done tries
// again.
func (s *File) Done(id logd.ID, err error) error {
	due, err := s.note(id, err)
	if err != nil || !due {
		return err
	}
	return s.saveIfDue()
}

// saveIfDue replaces the file unless somebody else has done so meanwhile.
func (s *File) saveIfDue() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	due := s.due()
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.save(s.cfg.Sync == SyncEverySave)
}

// note notes that the message is done, or failed, and reports whether the file is
// to be replaced.
func (s *File) note(id logd.ID, err error) (due bool, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, errClosed
	}
	if failed := s.tracker.done(id, err); failed != nil {
		return false, failed
	}
	if err == nil {
		s.done++
	}
	return s.due(), nil
}

// due reports whether the file is to be replaced now. Caller holds mu.
func (s *File) due() bool {
	at := s.tracker.position()
	id, _ := at.ID()
	saved, named := s.saved.ID()
	switch {
	case at == s.saved && s.savedOf == s.tracker.topic:
		return false
	case !named || s.savedOf != s.tracker.topic:
		return true
	case s.cfg.SaveInterval > 0 && time.Since(s.savedAt) < s.cfg.SaveInterval:
		return false
	case s.cfg.SaveMessages > 0 && s.done >= s.cfg.SaveMessages:
		return true
	}
	return id.Offset != saved.Offset
}

// Save replaces the file, and syncs it, if it does not say what is known.
func (s *File) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	return s.save(true)
}

// Close saves what is known and ends the File. It does not wait for messages that are
// started. Only the first call does anything.
func (s *File) Close() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	return s.save(true)
}

// save replaces the file. Caller holds saving.
func (s *File) save(sync bool) error {
	s.mu.Lock()
	at, topic, done := s.tracker.position(), s.tracker.topic, s.done
	s.mu.Unlock()
	if at.IsZero() {
		return nil // nothing is known yet
	}
	if at == s.saved && topic == s.savedOf && !(sync && s.cfg.Sync == SyncOnClose) {
		return nil
	}
	if err := durable.Replace(s.files, s.cfg.Path, s.cfg.FileMode, encode(at, topic), sync); err != nil {
		return fmt.Errorf("logd: save progress: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved, s.savedOf, s.savedAt = at, topic, time.Now()
	s.done -= done
	return nil
}

// A file is one line:
//
//	logd-state 2 <topic> <position> <checksum>\n
//	logd-state 1 <position> <checksum>\n
//
// of which the second is for a topic whose id is not known, and all that there was
// before. topic is the topic's id in hexadecimal; position is the text of a
// logd.Position; checksum is the CRC-32 (IEEE) of all before the space that it
// follows, as eight hexadecimal digits.
const (
	magic   = "logd-state "
	version = 2
	maxFile = 256

	maxTopicID = 64
)

// validID reports whether id can be one of a topic: hexadecimal digits.
func validID[T string | []byte](id T) bool {
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return 0 < len(id) && len(id) <= maxTopicID
}

func encode(at logd.Position, topic string) []byte {
	line := fmt.Appendf(nil, "%s1 %s", magic, at)
	if topic != "" {
		line = fmt.Appendf(nil, "%s2 %s %s", magic, topic, at)
	}
	return fmt.Appendf(line, " %08x\n", crc32.ChecksumIEEE(line))
}

func decode(line []byte) (at logd.Position, topic string, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(magic))
	number, _, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 {
		return at, "", fmt.Errorf("%w: it does not begin like one", ErrDamaged)
	}
	if n, err := strconv.ParseUint(string(number), 10, 32); err == nil && n > version {
		return at, "", fmt.Errorf("%w: %d, and %d is the newest known", ErrVersion, n, version)
	}
	end := bytes.LastIndexByte(line, ' ')
	if want := fmt.Sprintf(" %08x\n", crc32.ChecksumIEEE(line[:end])); string(line[end:]) != want {
		return at, "", fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	position, ok := bytes.CutPrefix(line[:end], []byte(magic+"1 "))
	if !ok {
		var id []byte
		position, ok = bytes.CutPrefix(line[:end], []byte(magic+"2 "))
		if id, position, _ = bytes.Cut(position, []byte(" ")); ok && !validID(id) {
			return at, "", fmt.Errorf("%w: %q is no id of a topic", ErrDamaged, id)
		}
		topic = string(id)
	}
	if err := at.UnmarshalText(position); err != nil || !ok || at.IsZero() {
		return at, "", fmt.Errorf("%w: %q is no position", ErrDamaged, position)
	}
	return at, topic, nil
}

// read reads a file.
func read(name string) (at logd.Position, topic string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return at, "", err
	}
	defer f.Close()
	line, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(line) > maxFile {
		err = fmt.Errorf("%w: it is longer than %d bytes", ErrDamaged, maxFile)
	}
	if err == nil {
		at, topic, err = decode(line)
	}
	if err != nil {
		return at, "", fmt.Errorf("%s: %w", name, err)
	}
	return at, topic, nil
}

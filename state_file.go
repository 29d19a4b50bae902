package logd

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

	"github.com/logd-dev/logd/internal/durable"
	"github.com/logd-dev/logd/internal/protocol"
)

// Errors of files of states.
var (
	// ErrStateDamaged: the file is not what was written. Where to begin is for
	// a person to decide, who then removes it.
	ErrStateDamaged = errors.New("state file is damaged")
	// ErrStateVersion: the file was written by a newer version of this package.
	ErrStateVersion = errors.New("state file is of a newer version")
	// ErrStateClosed: the FileState is closed.
	ErrStateClosed = errors.New("state is closed")
)

// StateSync is when a FileState puts its file on stable storage.
type StateSync uint8

const (
	// SyncEverySave syncs the file, and its folder, each time it is replaced.
	SyncEverySave StateSync = iota
	// SyncOnClose syncs only in Close and Save. A power cut before may take the
	// state back to any older one, or damage it, which is then said.
	SyncOnClose
)

// String returns the constant's name.
func (s StateSync) String() string {
	if names := [...]string{"SyncEverySave", "SyncOnClose"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("StateSync(%d)", s)
}

// FileStateConfig says where and how often a FileState keeps its state. The
// zero value of every field but Path is its documented default: a crash brings
// back the messages of one batch at most.
type FileStateConfig struct {
	// Path is the file. Its folder must exist. While the file is replaced there
	// is a new file beside it, of the same name, a number and ".tmp". One
	// FileState at a time may use it, for one topic: the file does not say which.
	Path string
	// FileMode is the mode of the file. Default: 0600.
	FileMode fs.FileMode
	// Sync is when the file is put on stable storage. Default: SyncEverySave.
	Sync StateSync

	// The file is replaced when the oldest message that is not completed is of
	// another batch than before, by the Complete that makes it so, and at the
	// first Start of all.

	// SaveMessages makes that also happen after so many completed messages of
	// one batch. Default: no such limit.
	SaveMessages int64
	// SaveInterval makes it happen less often: not before so much time has
	// gone by since the last time. A crash brings back what was completed in
	// that time. Default: no such limit.
	SaveInterval time.Duration

	// Begin is the position while there is no file. Default: the zero
	// Position, which is the Scanner's Start.
	Begin Position
	// MaxStarted is how many messages may be started and not completed.
	// Default: DefaultMaxStarted.
	MaxStarted int64
}

// Validate returns an error that names the field, its value and the allowed
// range if a FileState cannot work with cfg.
func (cfg *FileStateConfig) Validate() error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("logd: FileStateConfig.%s is %v: want %s", field, value, want)
	}
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
	case !cfg.Begin.valid():
		return bad("Begin", cfg.Begin, "an offset, a delta and a number of 0 or more")
	case cfg.MaxStarted < 0:
		return bad("MaxStarted", cfg.MaxStarted, "0 (the default) or more")
	}
	return nil
}

// FileState is a StatePuller whose state outlasts the program, in a file. All
// methods are safe for concurrent use. The memory it takes is that of a
// [MemoryState].
//
// The file is replaced as a whole: whenever the program or the machine ends,
// there is the old one or the new one. A file that is neither is refused, and
// never taken for the beginning.
type FileState struct {
	cfg   FileStateConfig
	files durable.System

	mu       sync.Mutex
	progress progress
	done     int64 // how many were completed since the last save
	closed   bool

	// saving is held while the file is replaced, and taken before mu.
	saving sync.Mutex
	// Guarded by both; either is enough to read them.
	saved   Position
	savedAt time.Time
	savedOf string // id of the topic
}

// OpenFileState returns a FileState of the file. No file is a state that knows
// nothing; one that cannot be read is an error: ErrStateDamaged,
// ErrStateVersion, or the operating system's.
func OpenFileState(cfg FileStateConfig) (*FileState, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	setDefault(&cfg.FileMode, 0o600)
	s := &FileState{cfg: cfg, files: durable.OS}
	at, topic, err := readState(cfg.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.progress.begin(cfg.Begin)
	case err != nil:
		return nil, fmt.Errorf("logd: open state: %w", err)
	default:
		s.saved, s.savedOf = at, topic
		s.progress.begin(at)
		s.progress.topic = topic
	}
	durable.Clean(cfg.Path)
	return s, nil
}

// Get implements StatePuller.
func (s *FileState) Get() (Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Position{}, ErrStateClosed
	}
	s.progress.restart()
	return s.progress.position(), nil
}

// TopicID implements TopicState.
func (s *FileState) TopicID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress.topic
}

// SetTopicID implements TopicState. The file has the id at the next Start.
func (s *FileState) SetTopicID(id string) error {
	if !protocol.ValidID(id) || len(id) > maxStateTopic {
		return fmt.Errorf("logd: %q is no id of a topic", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrStateClosed
	}
	s.progress.ofTopic(id)
	return nil
}

// Position returns what Get would, and changes nothing.
func (s *FileState) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress.position()
}

// Start implements StatePuller. For the first message of all it returns when
// the file is there: where the next program begins must not depend any more on
// what the oldest message, or the next, is by then.
func (s *FileState) Start(id ID) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrStateClosed
	}
	err := s.progress.start(id, s.cfg.MaxStarted)
	known := s.saved.named() && s.savedOf == s.progress.topic
	s.mu.Unlock()
	if err != nil || known {
		return err
	}
	return s.saveIfDue()
}

// EndBatch implements BatchEnder.
func (s *FileState) EndBatch(id ID, next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.endBatch(id, next)
	return nil
}

// Complete implements StatePuller. It returns when the file is replaced, if
// that is due. If that fails the message is completed all the same, and the
// next Complete tries again.
func (s *FileState) Complete(id ID, err error) error {
	due, err := s.complete(id, err)
	if err != nil || !due {
		return err
	}
	return s.saveIfDue()
}

// saveIfDue replaces the file unless somebody else has done so meanwhile.
func (s *FileState) saveIfDue() error {
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

// complete reports whether the file is to be replaced.
func (s *FileState) complete(id ID, err error) (due bool, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, ErrStateClosed
	}
	if failed := s.progress.complete(id, err); failed != nil {
		return false, failed
	}
	if err == nil {
		s.done++
	}
	return s.due(), nil
}

// due reports whether the file is to be replaced now. Caller holds mu.
func (s *FileState) due() bool {
	at := s.progress.position()
	switch {
	case at == s.saved && s.savedOf == s.progress.topic:
		return false
	case !s.saved.named() || s.savedOf != s.progress.topic:
		return true
	case s.cfg.SaveInterval > 0 && time.Since(s.savedAt) < s.cfg.SaveInterval:
		return false
	case s.cfg.SaveMessages > 0 && s.done >= s.cfg.SaveMessages:
		return true
	}
	return at.id.Offset != s.saved.id.Offset
}

// Save replaces the file, and syncs it, if the state is another one than there.
func (s *FileState) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	return s.save(true)
}

// Close saves the state and ends it. It does not wait for messages that are
// started. Only the first call does anything.
func (s *FileState) Close() error {
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
func (s *FileState) save(sync bool) error {
	s.mu.Lock()
	at, topic, done := s.progress.position(), s.progress.topic, s.done
	s.mu.Unlock()
	if at.IsZero() {
		return nil // nothing is known yet
	}
	if at == s.saved && topic == s.savedOf && !(sync && s.cfg.Sync == SyncOnClose) {
		return nil
	}
	if err := durable.Replace(s.files, s.cfg.Path, s.cfg.FileMode, encodeState(at, topic), sync); err != nil {
		return fmt.Errorf("logd: save state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved, s.savedOf, s.savedAt = at, topic, time.Now()
	s.done -= done
	return nil
}

// A file of a state is one line:
//
//	logd-state 2 <topic> <position> <checksum>\n
//	logd-state 1 <position> <checksum>\n
//
// of which the second is for a topic whose id is not known, and all that there
// was before. topic is the topic's id in hexadecimal; position is the text of a Position; checksum is the CRC-32 (IEEE) of all
// before the space that it follows, as eight hexadecimal digits.
const (
	stateMagic   = "logd-state "
	stateVersion = 2
	maxStateFile = 256

	maxStateTopic = 64
)

func encodeState(at Position, topic string) []byte {
	line := fmt.Appendf(nil, "%s1 %s", stateMagic, at)
	if topic != "" {
		line = fmt.Appendf(nil, "%s2 %s %s", stateMagic, topic, at)
	}
	return fmt.Appendf(line, " %08x\n", crc32.ChecksumIEEE(line))
}

func decodeState(line []byte) (at Position, topic string, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(stateMagic))
	version, _, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 {
		return at, "", fmt.Errorf("%w: it does not begin like one", ErrStateDamaged)
	}
	if n, err := strconv.ParseUint(string(version), 10, 32); err == nil && n > stateVersion {
		return at, "", fmt.Errorf("%w: %d, and %d is the newest known", ErrStateVersion, n, stateVersion)
	}
	end := bytes.LastIndexByte(line, ' ')
	if want := fmt.Sprintf(" %08x\n", crc32.ChecksumIEEE(line[:end])); string(line[end:]) != want {
		return at, "", fmt.Errorf("%w: its checksum is wrong", ErrStateDamaged)
	}
	position, ok := bytes.CutPrefix(line[:end], []byte(stateMagic+"1 "))
	if !ok {
		var id []byte
		position, ok = bytes.CutPrefix(line[:end], []byte(stateMagic+"2 "))
		if id, position, _ = bytes.Cut(position, []byte(" ")); ok && (!protocol.ValidID(id) || len(id) > maxStateTopic) {
			return at, "", fmt.Errorf("%w: %q is no id of a topic", ErrStateDamaged, id)
		}
		topic = string(id)
	}
	if err := at.UnmarshalText(position); err != nil || !ok || at.IsZero() {
		return at, "", fmt.Errorf("%w: %q is no position", ErrStateDamaged, position)
	}
	return at, topic, nil
}

// readState reads a file of a state.
func readState(name string) (at Position, topic string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return at, "", err
	}
	defer f.Close()
	line, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err == nil && len(line) > maxStateFile {
		err = fmt.Errorf("%w: it is longer than %d bytes", ErrStateDamaged, maxStateFile)
	}
	if err == nil {
		at, topic, err = decodeState(line)
	}
	if err != nil {
		return at, "", fmt.Errorf("%s: %w", name, err)
	}
	return at, topic, nil
}

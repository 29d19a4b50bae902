package carry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/durable"
	"github.com/logd-dev/logd/internal/exit"
)

// pair is two topics, of which the one is copied to the other.
type pair struct{ from, fromID, to, toID string }

// state is how far a copy is.
type state struct {
	generation int64
	next       mark  // the first message that is not known to be stored
	seq        int64 // of the batch that it is in; 0 if a new generation is to begin there
}

// keeper keeps the states of copies. It may be used by several goroutines.
type keeper interface {
	// load returns what was saved last for the topics, and whether anything was.
	load(ctx context.Context, p pair) (state, bool, error)
	// save returns when the state is kept as safely as what is copied.
	save(ctx context.Context, p pair, s state) error
	// String says where the states are.
	String() string
	close()
}

// stateMagic is the first line of a file of states.
const stateMagic = "logd-copy 1"

// stateFile keeps states in a file: a line for each that was saved, the last one of a
// pair being the one that counts. A line that is cut short was not saved. The file is
// its owner's alone as long as it is open.
//
//	logd-copy 1
//	orders 7b61d7f7c8c1a35b orders 9c0f8835b7d0c9a2 0 70.11 42
//
// They are the names and ids of the source and the target, the generation, the place
// that comes next, and its batch's number.
type stateFile struct {
	path string

	mu     sync.Mutex
	f      *os.File
	states map[[2]string]line
	size   int64
	failed error // of a write: what is in the file is not known
}

type line struct {
	pair
	state
}

// maxStateFile is how long the file may become before it is written anew.
const maxStateFile = 1 << 20

// openState opens the file, and makes it if there is none.
func openState(path string) (*stateFile, error) {
	k := &stateFile{path: path, states: map[[2]string]line{}}
	f, err := durable.OpenLocked(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, k.renew()
	case errors.Is(err, durable.ErrLocked):
		return nil, exit.With(exit.Temporary, fmt.Errorf("--state %s: another copy is using it", path))
	case err != nil:
		return nil, err
	}
	k.f = f
	text, err := io.ReadAll(f)
	if err == nil {
		err = k.parse(text)
	}
	if err == nil {
		err = k.renew() // without what was cut short, and what does not count any more
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// parse takes the lines.
func (k *stateFile) parse(text []byte) error {
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	first := true
	for l := range strings.Lines(string(whole)) {
		l = strings.TrimSuffix(l, "\n")
		if first {
			if first = false; l != stateMagic {
				return k.bad(l)
			}
			continue
		}
		parsed, ok := parseLine(l)
		if !ok {
			return k.bad(l)
		}
		k.states[[2]string{parsed.fromID, parsed.toID}] = parsed
	}
	if first {
		return k.bad(string(text))
	}
	return nil
}

func (k *stateFile) bad(l string) error {
	return exit.With(exit.Failed, fmt.Errorf("--state %s is no file of log-cli copy: %.60q", k.path, l))
}

func parseLine(l string) (p line, ok bool) {
	words := strings.Split(l, " ")
	if len(words) != 7 {
		return p, false
	}
	p.pair = pair{words[0], words[1], words[2], words[3]}
	var id logd.ID
	var errs [3]error
	p.generation, errs[0] = strconv.ParseInt(words[4], 10, 64)
	errs[1] = id.UnmarshalText([]byte(words[5]))
	p.seq, errs[2] = strconv.ParseInt(words[6], 10, 64)
	p.next = mark{id.Offset, id.Delta}
	return p, errors.Join(errs[:]...) == nil && p.generation >= 0 && p.seq > 0
}

func (l line) String() string {
	return fmt.Sprintf("%s %s %s %s %d %v %d\n", l.from, l.fromID, l.to, l.toID, l.generation, l.next, l.seq)
}

// renew writes the file anew, with the lines that count.
func (k *stateFile) renew() error {
	f, err := durable.Create(k.path, 0o600)
	if err != nil {
		return err
	}
	text := []byte(stateMagic + "\n")
	for _, l := range k.states {
		text = append(text, l.String()...)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = durable.Lock(f)
	}
	if err == nil {
		err = durable.Place(f, k.path)
	}
	if err == nil {
		err = durable.SyncFolder(k.path)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	k.close()
	k.f, k.size = f, int64(len(text))
	return nil
}

func (k *stateFile) String() string { return "--state " + k.path }

func (k *stateFile) close() {
	if k.f != nil {
		durable.CloseLocked(k.f)
	}
	k.f = nil
}

func (k *stateFile) load(_ context.Context, p pair) (state, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.states[[2]string{p.fromID, p.toID}]
	return l.state, ok, nil
}

func (k *stateFile) save(_ context.Context, p pair, s state) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.failed
	}
	l := line{p, s}
	k.states[[2]string{p.fromID, p.toID}] = l
	var err error
	if k.size >= maxStateFile {
		err = k.renew()
	} else {
		var n int
		n, err = k.f.WriteString(l.String())
		k.size += int64(n)
		if err == nil {
			err = k.f.Sync()
		}
	}
	if err != nil {
		k.failed = fmt.Errorf("--state: %w", err)
	}
	return k.failed
}

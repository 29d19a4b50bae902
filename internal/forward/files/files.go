// Package files takes the lines of files: it finds the files of patterns, follows each of
// them over renames, truncations and copies, and offers what they hold to a [feed.Sink].
//
// A list-and-stat scan each interval decides everything. Events of the file system only
// make it come sooner: one that is lost or late costs no more than the interval. What a
// file is, is decided by package identity; what its lines are, by package lines.
//
// A [Manager] runs one goroutine for each input: it scans, and between scans reads the
// files that have something unread, one turn after the other. Nothing in it waits for the
// sink: what is not taken is offered again when there is room, and the scan goes on
// meanwhile, so that files which are renamed or removed are held open. So memory does not
// grow with what is unread; and a file is read again rather than kept.
//
// A file that ends, for it was renamed, removed or truncated, is read to its end first. What
// of it can't be read any more becomes a hole.
package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/glob"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// Config are the settings of one input. What is zero is as said.
type Config struct {
	Name    string         // the input's; positions belong to it
	Glob    string         // the files
	Exclude []string       // patterns of whole paths that are left out
	Lines   lines.Settings // Max must be set
	// AtEnd begins the files that are there at the very first start at their ends. First
	// says that this is the very first start of the input.
	AtEnd, First bool
	// NewCopies takes a file under another inode always for a new one.
	NewCopies    bool
	ScanInterval time.Duration // 1 s
	RotatedWait  time.Duration // 5 s
	ForgetAfter  time.Duration // 168 h
}

// Options are the settings of all inputs.
type Options struct {
	Sink feed.Sink
	Log  *slog.Logger
	// StateDir is left out of what is found.
	StateDir string
	// MaxOpen is the most files that are open at once; 1000 if it is 0. It is for the
	// caller to raise the limit of the process.
	MaxOpen int
	// UnlinkedMax is the most unread bytes of files that are kept open after they were
	// removed, while the spool has no room; 1 GiB if it is 0.
	UnlinkedMax int64
	// NoEvents scans at the interval only.
	NoEvents bool
	// Once reads what is there at the first scan, then ends.
	Once bool
}

const (
	maxRecords  = 100_000
	idleClose   = 5 * time.Minute
	idleRest    = time.Minute     // after which a file is looked at less often, where events tell of changes
	idleRecent  = time.Minute     // how long the last of what was read of a file is kept
	settleAfter = 5 * time.Second // how long a copy is waited for
	sayAgain    = time.Minute     // after how long an error of one file is said again
)

// Counters are what an input counts. All are safe to read at any time.
type Counters struct {
	Files, Open         atomic.Int64 // known; open
	LagBytes            atomic.Int64 // seen and not stored
	LagNanos            atomic.Int64 // since when the oldest of them was seen
	UnlinkedBytes       atomic.Int64 // unread, of removed files for which the spool has no room
	Rotations           atomic.Int64
	Truncations, Copies atomic.Int64
	NULs                atomic.Int64 // left out at the start of truncated files
	Split               atomic.Int64 // lines that were split
}

// Source is what is known of a file now.
type Source struct {
	Input    string
	ID       int64
	Path     string
	Wild     []string
	Position int64
	Size     int64
	Lag      time.Duration // since when the oldest byte that is not stored was seen
}

// Manager takes lines from the files of inputs. Its methods are safe for concurrent use.
type Manager struct {
	o    Options
	open atomic.Int64 // descriptors
	tell *teller
	// openFile is a way in for tests: of files that can't be opened, or change meanwhile.
	openFile func(path string) (content, error)
	watch    *watcher // nil without events
	// So are these: events come from elsewhere, and of any file system.
	notifier func() (*notifier, error)
	kindOf   func(dir string) kind
	rest     time.Duration // after which a file that is as it was is looked at less often

	mu      sync.Mutex
	inputs  map[string]*input
	running bool
	ctx     context.Context
	wg      sync.WaitGroup
	ready   chan struct{} // closed when the first scans are done
	waiting int           // inputs whose first scan is not done
}

// New checks the settings. It looks at no file yet.
func New(o Options, inputs []Config) (*Manager, error) {
	if o.MaxOpen == 0 {
		o.MaxOpen = 1000
	}
	if o.UnlinkedMax == 0 {
		o.UnlinkedMax = 1 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{o: o, tell: newTeller(o.Log), inputs: make(map[string]*input), ready: make(chan struct{})}
	m.openFile = func(path string) (content, error) { return openFile(path) }
	m.notifier, m.kindOf, m.rest = newNotifier, kindOf, idleRest
	plans, err := compileAll(inputs)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		m.inputs[p.Name] = newInput(m, p)
	}
	m.waiting = len(m.inputs)
	if m.waiting == 0 {
		close(m.ready)
	}
	return m, nil
}

// plan is a Config that was checked.
type plan struct {
	Config
	find    *glob.Glob
	exclude []*glob.Glob
}

// Check says what is wrong with the settings of an input, all of it.
func Check(c Config) error {
	_, err := compile(c)
	return err
}

func compile(c Config) (*plan, error) {
	p := &plan{Config: c}
	var errs []error
	var err error
	if p.find, err = glob.Compile(c.Glob); err != nil {
		errs = append(errs, err)
	}
	for _, pattern := range c.Exclude {
		g, err := glob.Compile(pattern)
		errs = append(errs, err)
		p.exclude = append(p.exclude, g)
	}
	if c.Lines.Max < 1 {
		errs = append(errs, fmt.Errorf("the longest line is %d bytes; it must be 1 or more", c.Lines.Max))
	}
	for _, d := range []struct {
		at   *time.Duration
		or   time.Duration
		name string
	}{
		{&p.ScanInterval, time.Second, "scan interval"},
		{&p.RotatedWait, 5 * time.Second, "wait for rotated files"},
		{&p.ForgetAfter, 168 * time.Hour, "time to forget a file"},
	} {
		if *d.at == 0 {
			*d.at = d.or
		}
		if *d.at < 0 {
			errs = append(errs, fmt.Errorf("the %s is %v; it can't be negative", d.name, *d.at))
		}
	}
	p.Lines.LeadingNULs = false
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("input %s: %w", c.Name, err)
	}
	return p, nil
}

func compileAll(inputs []Config) ([]*plan, error) {
	var plans []*plan
	var errs []error
	names := make(map[string]bool)
	for _, c := range inputs {
		p, err := compile(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if names[c.Name] {
			errs = append(errs, fmt.Errorf("two inputs have the name %q", c.Name))
		}
		names[c.Name] = true
		plans = append(plans, p)
	}
	return plans, errors.Join(errs...)
}

// Run reads until ctx ends, and returns nil; with Once it returns when all is read. It must
// be called once.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !m.o.NoEvents {
		m.watch = newWatcher(m)
	}
	m.mu.Lock()
	m.running, m.ctx = true, ctx
	var first []*input
	for _, in := range m.inputs {
		m.start(in)
		first = append(first, in)
	}
	m.mu.Unlock()
	var helpers sync.WaitGroup
	helpers.Go(func() { m.share(ctx) })
	if m.watch != nil {
		helpers.Go(m.watch.run)
	}
	if m.o.Once {
		for _, in := range first {
			<-in.done
		}
	} else {
		<-ctx.Done()
	}
	cancel()
	m.mu.Lock()
	m.running = false
	m.mu.Unlock()
	m.wg.Wait()
	if m.watch != nil {
		m.watch.close()
	}
	helpers.Wait()
	return nil
}

// start runs an input. The caller holds mu.
func (m *Manager) start(in *input) {
	ctx := m.ctx
	m.wg.Go(func() {
		defer close(in.done)
		in.run(ctx)
		m.mu.Lock()
		if m.inputs[in.name] == in && in.draining {
			delete(m.inputs, in.name)
		}
		m.mu.Unlock()
		in.scanned()
	})
}

// share tells all inputs that there may be room.
func (m *Manager) share(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.o.Sink.Room():
			m.each(func(in *input) { poke(in.room) })
		}
	}
}

func (m *Manager) each(f func(*input)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range m.inputs {
		f(in)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ready is closed when each input has done its first scan.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Beat is the time at which the slowest input came by last: it stands if that is long ago.
// It is zero if no input runs.
func (m *Manager) Beat() time.Time {
	var oldest time.Time
	m.each(func(in *input) {
		if at := in.beat.Load(); at != nil && (oldest.IsZero() || at.Before(oldest)) {
			oldest = *at
		}
	})
	return oldest
}

// Counters returns what each input counts.
func (m *Manager) Counters() map[string]*Counters {
	all := make(map[string]*Counters)
	m.each(func(in *input) { all[in.name] = &in.n })
	return all
}

// Sources returns the files of all inputs. If an input does not answer, it returns the
// error of ctx.
func (m *Manager) Sources(ctx context.Context) ([]Source, error) {
	var inputs []*input
	m.each(func(in *input) { inputs = append(inputs, in) })
	var all []Source
	for _, in := range inputs {
		err := in.do(ctx, func() { all = append(all, in.sources()...) })
		if err != nil && !errors.Is(err, errEnded) {
			return all, err
		}
	}
	return all, nil
}

// Reload sets the inputs. A new one begins; one that is left out is drained: what it has
// found is read to its present end, and it finds nothing more. Other settings hold for what
// is read from now on. If there is an error, all is as before.
func (m *Manager) Reload(inputs []Config) error {
	plans, err := compileAll(inputs)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := make(map[string]bool)
	for _, p := range plans {
		keep[p.Name] = true
		if in := m.inputs[p.Name]; in != nil {
			in.plans.Store(p)
			poke(in.wake)
			continue
		}
		in := newInput(m, p)
		m.inputs[p.Name] = in
		in.late = true
		if m.running {
			m.start(in)
		}
	}
	for name, in := range m.inputs {
		if !keep[name] {
			in.plans.Store(nil)
			poke(in.wake)
		}
	}
	return nil
}

// Package deliver brings what the inputs have taken to the server. Each topic has a lane
// of its own; a lane that can't go on stops no other.
//
// The way of a message:
//
//	Offer, Put ── batch ─┬─ can be read again ───────────── queue ─ Sent ─ server ─ Stored
//	                     └─ can't: spool ── queue ─┘          (ledger)            (ledger)
//
// A batch is noted in the ledger, with its number and with where its messages come from,
// before its first byte goes out, and once more when it is answered; then the positions of
// its sources move. So after a kill the batches without an answer are made again, from the
// files or the spool, and sent under the numbers that they had: the server stores each once.
//
// Locks, in the order in which they are taken: a lane's, a source's. None is held while
// something is written to disk or sent, but the ledger's and the spool's own.
package deliver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/spool"
	"github.com/logd-dev/logd/internal/vfs"
)

// numberLen is what a number takes in an envelope, at most.
const numberLen = int64(len(" pid=") + 32 + len(" seq=") + 19)

// Config says how messages are delivered. There are no defaults but where it says so.
type Config struct {
	Client *logd.Client // which should try once only: the lanes try again
	// FS is the state folder; nil for none: then nothing is kept over restarts.
	FS vfs.FS

	Memory      int64 // for all messages; a lane has a quarter
	SpoolBytes  int64
	LedgerBytes int64
	DeadBytes   int64

	BatchSize  int64
	BatchAge   time.Duration
	InFlight   int
	NoSequence bool          // batches have no numbers for the server
	SpoolSync  time.Duration // how often the spool is synced while something in it is not stored

	MaxTopics int    // that templates make
	Fallback  string // the topic of further ones, and of those that the server refuses
	Host      string // ours, in templates and envelopes

	Logger *slog.Logger
}

// Input is how messages of an input become messages of a topic. Whether they may ask for
// the topic that they do, who puts them has looked.
type Input struct {
	Name   string
	Topic  *render.Template
	Format render.Format
}

// Delivery brings messages to the server. It is a feed.Sink, and safe for concurrent use.
type Delivery struct {
	cfg    Config
	log    *slog.Logger
	client atomic.Pointer[logd.Client]
	ledger *ledger.Ledger // nil without a state folder, as the others
	spool  *spool.Spool
	dead   *segment.Log
	pid    string // of this run

	life    context.Context // ends when nothing more is sent
	end     context.CancelFunc
	workers sync.WaitGroup // lanes
	helpers sync.WaitGroup // spooler, syncer
	fatal   chan error
	once    sync.Once
	closed  error // what Close has returned

	memory    atomic.Int64 // that there may be
	deadBytes atomic.Int64
	mem       atomic.Int64  // bytes of messages in memory
	spare     sync.Pool     // of *logd.Batch: empty ones, for their memory
	largest   atomic.Int64  // batch that the server takes, 0 if it is not known
	closing   atomic.Bool   // nothing more is taken
	stored    atomic.Int64  // batches that were stored or given up, ever
	waiting   atomic.Int64  // batches that a sender waits for
	toSpool   chan struct{} // there may be something to write to the spool
	toSync    chan struct{} // the spool should be synced soon

	mu       sync.Mutex
	inputs   map[string]Input
	counters map[string]*Counters
	lanes    map[string]*lane
	made     int // topics that templates have made
	refused  map[string]bool
	sources  map[int64]*source
	olds     map[int64][]*old // that have messages of a source
	toMake   []*batch         // batches of earlier runs that have to be made again
	rooms    []chan struct{}
	room     chan struct{}            // closed when there may be room
	holes    map[holeKey]*ledger.Hole // that are not written down
	gone     []int64                  // sources that the ledger is to forget
	deadN    int64
}

// old is what a batch of an earlier run has of a source.
type old struct {
	b *batch
	m *mark
}

// New opens the state folder's ledger and spool and begins to deliver what is in the
// spool. What can be read again waits for Recover.
func New(cfg Config) (*Delivery, error) {
	d := &Delivery{
		cfg: cfg, log: cfg.Logger, fatal: make(chan error, 1),
		toSpool: make(chan struct{}, 1), toSync: make(chan struct{}, 1),
		inputs: map[string]Input{}, counters: map[string]*Counters{}, lanes: map[string]*lane{}, refused: map[string]bool{},
		sources: map[int64]*source{}, olds: map[int64][]*old{}, room: make(chan struct{}),
		holes: map[holeKey]*ledger.Hole{},
	}
	d.client.Store(cfg.Client)
	d.memory.Store(cfg.Memory)
	d.deadBytes.Store(cfg.DeadBytes)
	d.life, d.end = context.WithCancel(context.Background())
	d.pid = newPID()
	if cfg.FS != nil {
		if err := d.open(); err != nil {
			d.end()
			return nil, err
		}
	}
	d.helpers.Go(d.spoolAll)
	d.helpers.Go(d.syncAll)
	return d, nil
}

// emptyBatch returns a batch that may have the memory of an earlier one.
func (d *Delivery) emptyBatch() logd.Batch {
	if b, ok := d.spare.Get().(*logd.Batch); ok {
		return *b
	}
	return logd.Batch{}
}

func newPID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// Client returns the client.
func (d *Delivery) Client() *logd.Client { return d.client.Load() }

// SetClient has what follows go over another client, and closes the one before.
func (d *Delivery) SetClient(c *logd.Client) {
	old := d.client.Swap(c)
	old.Close()
}

// Bounds are what may be set anew while messages are delivered.
type Bounds struct {
	Memory, SpoolBytes, LedgerBytes, DeadBytes int64
	MaxTopics                                  int
}

// SetBounds sets bounds, which should not be smaller than those before.
func (d *Delivery) SetBounds(b Bounds) {
	d.memory.Store(b.Memory)
	d.deadBytes.Store(b.DeadBytes)
	if d.ledger != nil {
		d.spool.SetBound(b.SpoolBytes)
		d.ledger.SetBound(b.LedgerBytes)
	}
	d.mu.Lock()
	d.cfg.MaxTopics = b.MaxTopics
	clear(d.refused) // there may be room for them now
	d.mu.Unlock()
	d.freed(0)
}

// SetInput says how the messages of an input become messages of a topic from now on.
func (d *Delivery) SetInput(in Input) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inputs[in.Name] = in
	if d.counters[in.Name] == nil {
		d.counters[in.Name] = new(Counters)
	}
	for _, s := range d.sources {
		if s.input == in.Name {
			s.set(in, d.cfg.Host)
		}
	}
}

// Fatal returns a channel on which an error comes after which nothing can be kept: a
// write or a sync of the ledger or the spool has failed.
func (d *Delivery) Fatal() <-chan error { return d.fatal }

func (d *Delivery) fail(err error) {
	if err == nil || !errors.Is(err, segment.ErrFailed) || d.life.Err() != nil {
		return
	}
	select {
	case d.fatal <- err:
	default:
	}
}

// First reports whether an input begins for the first time with its state folder.
func (d *Delivery) First(input string) bool {
	if d.ledger == nil {
		return true
	}
	first, err := d.ledger.InputBegun(input)
	d.fail(err)
	return first
}

// MaxBatch is the length of the longest batch that is made.
func (d *Delivery) MaxBatch() int64 {
	n := d.cfg.BatchSize
	if limit := d.largest.Load(); limit > 0 {
		n = min(n, limit)
	}
	return n
}

// Close ends delivering: what is under way is given up, and after a restart sent again.
// Inputs have ended before. The ledger and the spool are synced and closed.
func (d *Delivery) Close() error {
	d.once.Do(func() { d.closed = d.close() })
	return d.closed
}

func (d *Delivery) close() error {
	d.closing.Store(true)
	err := d.Sync()
	d.end()
	d.freed(0)
	d.workers.Wait()
	d.helpers.Wait()
	if d.cfg.FS == nil {
		return err
	}
	return errors.Join(err, d.spool.Close(), d.dead.Close(), d.ledger.Close())
}

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
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
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

// Counters are what became of the messages of an input, since the start: of those that were
// taken then, and those that earlier runs have left. The ones taken are the ones stored,
// those that wait, and the holes of kinds that count as taken.
type Counters struct {
	TakenMessages, TakenBytes   atomic.Int64
	StoredMessages, StoredBytes atomic.Int64

	mu    sync.Mutex
	holes map[feed.Kind]ledger.Lost
}

// Holes returns the sums of the holes of each kind.
func (c *Counters) Holes() map[feed.Kind]ledger.Lost {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.holes)
}

// Waiting returns how many bytes were taken and are neither stored nor a hole.
func (c *Counters) Waiting() int64 {
	n := -c.StoredBytes.Load()
	for kind, l := range c.Holes() {
		if kind.Taken() {
			n -= l.Bytes
		}
	}
	return max(n+c.TakenBytes.Load(), 0)
}

func (c *Counters) took(messages, bytes int64) {
	c.TakenMessages.Add(messages)
	c.TakenBytes.Add(bytes)
}

func (c *Counters) hole(h *feed.Hole) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holes == nil {
		c.holes = map[feed.Kind]ledger.Lost{}
	}
	l := c.holes[h.Kind]
	l.Holes++
	l.Messages += max(h.Messages, 0)
	l.Bytes += h.Bytes
	c.holes[h.Kind] = l
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

// holeKey is what holes have in common that are written down as one.
type holeKey struct {
	ledger.TotalKey
	kind feed.Kind
	from int64 // of what was never read: each range by itself
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

// Counters returns those of an input.
func (d *Delivery) Counters(input string) *Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.countersOf(input)
}

// countersOf is Counters for who holds mu.
func (d *Delivery) countersOf(input string) *Counters {
	c := d.counters[input]
	if c == nil {
		c = new(Counters)
		d.counters[input] = c
	}
	return c
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

// lane returns the lane of a topic. Of a topic that a template has made, the lane may be
// that of the fallback.
func (d *Delivery) lane(topic string, made bool) *lane {
	l, fresh := d.laneOf(topic, made)
	if fresh && d.ledger != nil {
		d.fail(d.ledger.TopicMade(topic))
	}
	return l
}

// laneOf is lane, and tells whether a template has made the topic just now.
func (d *Delivery) laneOf(topic string, made bool) (l *lane, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l = d.lanes[topic]
	if made && topic != d.cfg.Fallback && (d.refused[topic] || l == nil && d.made >= d.cfg.MaxTopics) {
		if !d.refused[topic] {
			if len(d.refused) < 10*d.cfg.MaxTopics+100 { // else it may be logged again
				d.refused[topic] = true
			}
			d.log.Warn("too many topics: the messages go to the fallback", "topic", topic, "fallback", d.cfg.Fallback, "max", d.cfg.MaxTopics)
		}
		topic, made = d.cfg.Fallback, false
		l = d.lanes[topic]
	}
	if l == nil {
		l, fresh = d.begin(topic), made
		if made {
			l.made = true
			d.made++
		}
	}
	return l, fresh
}

// begin begins a lane. d.mu is held.
func (d *Delivery) begin(topic string) *lane {
	l := &lane{d: d, topic: topic, pid: d.pid, wake: make(chan struct{}, 1), started: time.Now()}
	d.lanes[topic] = l
	d.workers.Go(l.run)
	return l
}

// Lanes returns the lanes, by topic.
func (d *Delivery) allLanes() []*lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.lanes))
}

// Room implements feed.Sink.
func (d *Delivery) Room() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan struct{}, 1)
	d.rooms = append(d.rooms, c)
	return c
}

// freed gives memory back and tells who waits for it.
func (d *Delivery) freed(n int64) {
	d.mem.Add(-n)
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.room)
	d.room = make(chan struct{})
	for _, c := range d.rooms {
		poke(c)
	}
}

func (d *Delivery) nextRoom() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.room
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// counted counts a hole of what was in no batch: if it was taken, it counts as that here.
func (d *Delivery) counted(input string, h *feed.Hole) {
	c := d.Counters(input)
	if h.Kind.Taken() {
		c.took(max(h.Messages, 0), h.Bytes)
	}
	c.hole(h)
}

// told notes a hole of what can't be read again, which is written down within a second.
func (d *Delivery) told(input string, h feed.Hole) {
	d.counted(input, &h)
	d.later(input, h)
}

// later has a hole be written down within a second.
func (d *Delivery) later(input string, h feed.Hole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(&ledger.Hole{Hole: h, Input: input, Time: time.Now().UnixNano()})
}

// writeHole writes down a hole, now if there is room for it.
func (d *Delivery) writeHole(h *ledger.Hole) {
	if d.ledger != nil {
		if err := d.ledger.Hole(h); err != nil {
			d.fail(err)
			d.mu.Lock()
			d.note(h)
			d.mu.Unlock()
			return
		}
	}
	d.log.Warn("hole", "kind", h.Kind, "input", h.Input, "topic", h.Topic, "from", h.From, "to", h.To, "messages", h.Messages, "bytes", h.Bytes, "cause", h.Cause)
}

// note is later for who holds d.mu.
func (d *Delivery) note(h *ledger.Hole) {
	k := holeKey{ledger.TotalKey{Input: h.Input, Source: h.Source, Topic: h.Topic}, h.Kind, 0}
	if !h.Kind.Taken() {
		k.from = h.From
	}
	sum := d.holes[k]
	if sum == nil {
		d.holes[k] = h
		return
	}
	merge(sum, h)
}

// merge adds a hole to one before it.
func merge(sum, h *ledger.Hole) {
	sum.Bytes += h.Bytes
	if sum.Messages >= 0 {
		sum.Messages += h.Messages
	}
	if h.Messages < 0 {
		sum.Messages = -1
	}
	sum.From, sum.To, sum.Cause = min(sum.From, h.From), max(sum.To, h.To), h.Cause
	if h.Pos != nil {
		sum.Pos = h.Pos
	}
}

// forget has the ledger forget a source within a second.
func (d *Delivery) forget(source int64) {
	if d.ledger == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = append(d.gone, source)
}

// writeDown writes down the holes that were counted, and what is to be forgotten. What finds
// no room is tried again.
func (d *Delivery) writeDown() {
	d.mu.Lock()
	holes, gone := d.holes, d.gone
	d.holes, d.gone = map[holeKey]*ledger.Hole{}, nil
	d.mu.Unlock()
	for _, h := range holes {
		d.writeHole(h)
	}
	for _, source := range gone {
		if err := d.ledger.Gone(source); err != nil {
			d.fail(err)
			d.forget(source)
		}
	}
}

// untilRoom writes to the ledger what has to be there before anything else is done: while
// the disk is full it tries again, until nothing more is sent.
func (d *Delivery) untilRoom(write func() error) {
	if d.ledger == nil {
		return
	}
	for {
		err := write()
		if d.fail(err); !errors.Is(err, segment.ErrFull) {
			return
		}
		select {
		case <-time.After(firstPause):
		case <-d.life.Done():
			return
		}
	}
}

// spoolAll writes closed batches of what can't be read again to the spool.
func (d *Delivery) spoolAll() {
	if d.spool == nil {
		return
	}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		again := false
		for _, l := range d.allLanes() {
			again = !l.writeSpool() || again
		}
		if again { // the disk is full
			retry.Reset(100 * time.Millisecond)
		}
		select {
		case <-d.toSpool:
		case <-retry.C:
		case <-d.life.Done():
			return
		}
	}
}

// waitsFor is how long a sender waits for the server's answer before the spool is synced
// for it.
const waitsFor = 20 * time.Millisecond

// syncAll syncs the spool and the ledger, and writes down holes.
func (d *Delivery) syncAll() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	every := time.NewTicker(max(d.cfg.SpoolSync, time.Millisecond))
	defer every.Stop()
	soon := time.NewTimer(time.Hour)
	defer soon.Stop()
	pending := false
	for {
		select {
		case <-d.toSync:
			if !pending {
				pending = true
				soon.Reset(waitsFor)
			}
		case <-soon.C:
			pending = false
			if d.waiting.Load() > 0 {
				d.syncSpool()
			}
		case <-every.C:
			d.syncSpool()
		case <-second.C:
			d.writeDown()
			if d.ledger != nil {
				d.fail(d.ledger.Sync())
			}
		case <-d.life.Done():
			return
		}
	}
}

// syncSpool makes durable what is in the spool, and tells who waits for it.
func (d *Delivery) syncSpool() {
	if d.spool == nil {
		return
	}
	if err := d.spool.Sync(); err != nil {
		d.fail(err)
		return
	}
	n := d.spool.Synced()
	for _, l := range d.allLanes() {
		l.synced(n)
	}
}

// Sync makes durable all that was taken, if there is a state folder: what is in open
// batches goes to the spool, as far as it can't be read again.
func (d *Delivery) Sync() error {
	d.writeDown()
	if d.spool == nil {
		return nil
	}
	var full error
	for _, l := range d.allLanes() {
		l.closeOpen()
		if !l.writeSpool() {
			full = fmt.Errorf("spool: %w", segment.ErrFull)
		}
	}
	d.syncSpool()
	return errors.Join(full, d.spool.Sync(), d.ledger.Sync())
}

// Waiting returns how many messages are taken and neither stored nor a hole, how many of
// them only memory has, and a number that grows with each batch that is settled.
func (d *Delivery) Waiting() (messages, inMemory, progress int64) {
	for _, l := range d.allLanes() {
		all, memory := l.waiting()
		messages += all
		inMemory += memory
	}
	return messages, inMemory, d.stored.Load()
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

// LaneState is what is known of a lane.
type LaneState struct {
	Topic string
	State string // ok, retrying, refused
	Why   string
	Since time.Time

	Batches, Resent, Doubled int64 // that were stored; sent again; perhaps stored twice
	Messages                 int64 // that wait
	Oldest                   time.Time
}

// Lanes returns what is known of each lane, by topic.
func (d *Delivery) Lanes() []LaneState {
	var all []LaneState
	for _, l := range d.allLanes() {
		all = append(all, l.snapshot())
	}
	slices.SortFunc(all, func(a, b LaneState) int {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	})
	return all
}

// Sizes are those of the state folder.
type Sizes struct {
	Spool, SpoolBound, Ledger, DeadMessages int64
}

// Sizes returns what the state folder has.
func (d *Delivery) Sizes() (s Sizes) {
	if d.ledger == nil {
		return s
	}
	s.Spool, s.SpoolBound = d.spool.Bytes()
	s.Ledger = d.ledger.Bytes()
	d.mu.Lock()
	s.DeadMessages = d.deadN
	d.mu.Unlock()
	return s
}

// TopicOf returns the topic of all lines of a file that is being read; empty if it is not.
func (d *Delivery) TopicOf(source int64) string {
	d.mu.Lock()
	s := d.sources[source]
	d.mu.Unlock()
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topic
}

// Oldest returns for how long the oldest message to a topic waits, 0 if none does.
func (d *Delivery) Oldest(topic string) time.Duration {
	d.mu.Lock()
	l := d.lanes[topic]
	d.mu.Unlock()
	if l == nil {
		return 0
	}
	if at := l.snapshot().Oldest; !at.IsZero() {
		return time.Since(at)
	}
	return 0
}

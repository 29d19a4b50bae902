package progress

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/logd-dev/logd"
)

// Errors of a Server. Test for them with errors.Is.
var (
	// ErrMoved: somebody else has set the position, an operator say. Another Scanner with
	// another Server begins there.
	ErrMoved = errors.New("somebody else has moved the position")
	// ErrHeld: another one holds the position now.
	ErrHeld = logd.ErrHeld
)

// ServerConfig says how a Server saves. The zero value of a field is its default.
type ServerConfig struct {
	// Every is how often the position is saved at most, if it has changed. Default 1s.
	Every time.Duration
	// Start is where to begin if the server knows no position. Default: where the Scanner
	// is told to.
	Start logd.Position
	// Hold has the position be this Server's alone while it is in use: Position waits
	// until nobody else holds it, and it is held for so long at a time, 1s to 5m.
	// Default: it is not held. Others can save it, too: whoever is second gets ErrMoved.
	Hold time.Duration
	// As is under what name it is held. Default: a random one.
	As string
	// OnMoved is called once if the position is found to be moved, from a goroutine of the
	// Server's, with where it is then. Everything else that is asked of the Server is ErrMoved from then on.
	// Default: nothing is called.
	OnMoved func(to logd.ConsumerPosition)
	// MaxStarted is as in Memory.
	MaxStarted int64
}

// Validate returns an error that names the field that is wrong, its value and what it may
// be.
func (cfg *ServerConfig) Validate() error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("progress.ServerConfig.%s is %v: want %s", field, value, want)
	}
	switch {
	case cfg.Every < 0:
		return bad("Every", cfg.Every, "0 (1s) or more")
	case cfg.Hold != 0 && (cfg.Hold < time.Second || cfg.Hold > 5*time.Minute):
		return bad("Hold", cfg.Hold, "0 (it is not held), or 1s to 5m")
	case cfg.MaxStarted < logd.Unlimited:
		return bad("MaxStarted", cfg.MaxStarted, "0 (the default) or more, or Unlimited (-1)")
	}
	return nil
}

// saveAnyway is how often a position is saved that has not changed, so that the server
// sees that there still is somebody.
const saveAnyway = 24 * time.Hour

// saveTime bounds what a save waits for a server that is away.
const saveTime = 15 * time.Second

// Server is a [logd.Progress] that the server keeps, as the position of a consumer of a
// topic: see docs/positions.md. A program that starts on another machine goes on where
// the last one has stopped. All methods are safe for concurrent use. The memory it takes
// is that of a [Memory].
//
// It saves in a goroutine, and goes on trying while the server is away. After a crash the
// messages come again that were done since the last save.
//
// Each save is for the version that the position had at the last one. So if an operator
// moves the position, or a second program with the same name saves it, that counts: this
// one ends with ErrMoved and saves nothing any more.
type Server struct {
	client          *logd.Client
	topic, consumer string
	cfg             ServerConfig

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	saver  sync.WaitGroup

	mu      sync.Mutex
	tracker tracker
	known   bool  // Position was called
	version int64 // that the position has; 0: there is none
	saved   logd.Position
	savedAt time.Time
	held    bool
	failed  error // nothing is saved any more
	closed  bool

	saving sync.Mutex // held during a save, and taken before mu
}

// NewServer returns a Server. Nothing is asked of the server before the first use.
func NewServer(client *logd.Client, topic, consumer string, cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.As == "" && cfg.Hold > 0 {
		cfg.As = "w-" + rand.Text()
	}
	s := &Server{client: client, topic: topic, consumer: consumer, cfg: cfg}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Position implements logd.Progress. It asks the server, and with Hold waits until the
// position is this Server's; Close ends that.
func (s *Server) Position() (logd.Position, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	err, known := s.usable(), s.known
	s.mu.Unlock()
	if err != nil {
		return logd.Position{}, err
	}
	if !known {
		if err := s.look(); err != nil {
			return logd.Position{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return logd.Position{}, err
	}
	if !known {
		s.saver.Go(s.run) // which Close waits for, if it comes later
	}
	s.tracker.restart()
	return s.tracker.position(), nil
}

// usable returns why the Server is of no use any more. Caller holds mu.
func (s *Server) usable() error {
	switch {
	case s.closed:
		return errClosed
	case s.failed != nil:
		return s.failed
	}
	return nil
}

// look asks for the position, and holds it. Caller holds saving.
func (s *Server) look() error {
	for {
		p, err := s.client.Position(s.ctx, s.topic, s.consumer)
		switch {
		case errors.Is(err, logd.ErrNotFound):
			// With its first save it is held, too.
			s.begin(logd.ConsumerPosition{}, s.cfg.Start)
			return nil
		case err != nil:
			return s.ended(err)
		case s.cfg.Hold == 0:
			s.begin(p, logd.At(p.At))
			return nil
		}
		_, err = s.client.HoldPosition(s.ctx, s.topic, s.consumer, s.cfg.As, s.cfg.Hold)
		var held *logd.HeldError
		switch {
		case err == nil:
			// It may have been saved since it was asked for.
			if p, err = s.client.Position(s.ctx, s.topic, s.consumer); err != nil {
				return s.ended(err)
			}
			s.held = true
			s.begin(p, logd.At(p.At))
			return nil
		case errors.As(err, &held):
			// Who holds it may let go of it before.
			if err := wait(s.ctx, min(held.Left, time.Second)); err != nil {
				return s.ended(err)
			}
		case !errors.Is(err, logd.ErrNotFound):
			return s.ended(err)
		}
	}
}

// begin notes what the server knows.
func (s *Server) begin(p logd.ConsumerPosition, at logd.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tracker.begin(at)
	s.known, s.version, s.savedAt = true, p.Version, time.Now()
	if p.Version > 0 {
		s.saved = at
	}
}

// ended returns errClosed in place of an error that Close has caused.
func (s *Server) ended(err error) error {
	if s.ctx.Err() != nil {
		return errClosed
	}
	return fmt.Errorf("logd: position of %s in %s: %w", s.consumer, s.topic, err)
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TopicID implements logd.TopicProgress.
func (s *Server) TopicID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracker.topic
}

// SetTopicID implements logd.TopicProgress. A topic that was deleted takes its positions
// along: those of the one that got its name begin anew.
func (s *Server) SetTopicID(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if s.tracker.topic != "" && s.tracker.topic != id {
		s.version, s.saved, s.held = 0, logd.Position{}, false
	}
	s.tracker.ofTopic(id)
	return nil
}

// Peek returns what Position would, and changes and asks nothing.
func (s *Server) Peek() logd.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tracker.position()
}

// Started implements logd.Progress. Before the first message of all it saves: where the
// next program begins must not depend any more on what the oldest message, or the next, is
// by then.
func (s *Server) Started(id logd.ID) error {
	s.mu.Lock()
	err := s.usable()
	if err == nil {
		err = s.tracker.start(id, s.cfg.MaxStarted)
	}
	first := s.version == 0
	s.mu.Unlock()
	if err != nil || !first {
		return err
	}
	return s.Save(s.ctx)
}

// BatchEnd implements logd.Progress.
func (s *Server) BatchEnd(id logd.ID, next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tracker.batchEnd(id, next)
	return s.usable()
}

// Done implements logd.Progress. It waits for no server. After the position was moved it
// is ErrMoved, and ErrHeld once another one holds it.
func (s *Server) Done(id logd.ID, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	return s.tracker.done(id, err)
}

// run saves, and goes on holding.
func (s *Server) run() {
	every := s.cfg.Every
	if s.cfg.Hold > 0 {
		every = min(every, s.cfg.Hold/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		due := time.Since(s.savedAt) >= s.cfg.Every && (s.tracker.position() != s.saved || time.Since(s.savedAt) >= saveAnyway)
		over, held := s.failed != nil, s.held
		s.mu.Unlock()
		if over {
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, saveTime)
		if due {
			s.Save(ctx) // what is wrong for good, Done tells
		}
		if held && time.Since(renewed) >= s.cfg.Hold/3 {
			if _, err := s.client.HoldPosition(ctx, s.topic, s.consumer, s.cfg.As, s.cfg.Hold); err == nil {
				renewed = time.Now()
			} else if errors.Is(err, logd.ErrHeld) {
				s.fail(err)
			}
		}
		cancel()
	}
}

// Save saves the position now. When it returns nil the server has it, as durable as an acknowledged
// batch. Errors to test for: ErrMoved, ErrHeld, and those of logd.Client.
func (s *Server) Save(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	err := s.failed
	at, version, topicID := s.tracker.position(), s.version, s.tracker.topic
	s.mu.Unlock()
	if err != nil {
		return err
	}
	place, ok, err := s.place(ctx, at)
	if err != nil || !ok {
		return err
	}
	change := logd.PositionChange{At: place, Version: version, TopicID: topicID, As: s.cfg.As}
	if version == 0 {
		change.Hold = s.cfg.Hold
	}
	now, err := s.client.SetPosition(ctx, s.topic, s.consumer, change)
	if errors.Is(err, logd.ErrVersionConflict) {
		now, err = s.moved(ctx, place, err)
	}
	if errors.Is(err, logd.ErrHeld) || errors.Is(err, ErrMoved) {
		s.fail(err)
	}
	if err != nil {
		return fmt.Errorf("logd: save position of %s in %s: %w", s.consumer, s.topic, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tracker.topic == topicID { // else it is of a topic that is no more
		s.version, s.saved, s.savedAt, s.held = now, at, time.Now(), s.cfg.Hold > 0
	}
	return nil
}

// moved finds out who has changed the version: this Server itself, if the answer to its
// last save was lost, or somebody else.
func (s *Server) moved(ctx context.Context, place logd.ID, conflict error) (version int64, err error) {
	p, err := s.client.Position(ctx, s.topic, s.consumer)
	switch {
	case errors.Is(err, logd.ErrNotFound):
		err = nil // it was forgotten
	case err != nil:
		return 0, err
	case p.At == place:
		return p.Version, nil // wherever it comes from, there is nothing to save
	}
	if s.cfg.OnMoved != nil {
		s.cfg.OnMoved(p)
	}
	return 0, fmt.Errorf("%w: %w", ErrMoved, conflict)
}

// fail has nothing be saved any more.
func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// place returns the first message that is not done, if anything is known.
func (s *Server) place(ctx context.Context, at logd.Position) (place logd.ID, ok bool, err error) {
	id, named := at.ID()
	if !named {
		return id, false, nil // no message was started yet
	}
	if at != logd.After(id) {
		return id, true, nil
	}
	// The one behind it was not delivered yet: where it is, its batch says.
	r, err := s.client.Read(ctx, s.topic, id.Offset, logd.ReadOptions{Messages: 1})
	if errors.Is(err, logd.ErrNotFound) {
		return id, true, nil // retention has removed it: so it is gone, or comes once more
	}
	if err != nil {
		return id, false, err
	}
	defer r.Release()
	if len(r.Batches) == 0 {
		return id, true, nil
	}
	b := &r.Batches[0]
	for m := range b.All() {
		if m.ID().Compare(id) > 0 {
			return m.ID(), true, nil
		}
	}
	return logd.ID{Offset: b.Next()}, true, nil
}

// Close saves what is known, lets go of the position and ends the Server. It does not wait
// for messages that are started. Only the first call does anything.
func (s *Server) Close() error {
	s.mu.Lock()
	closed, known := s.closed, s.known
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.cancel()
	s.saver.Wait()
	if !known {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveTime)
	defer cancel()
	s.mu.Lock()
	changed, failed := s.tracker.position() != s.saved, s.failed
	s.mu.Unlock()
	var err error
	if changed && failed == nil {
		err = s.Save(ctx)
	}
	s.mu.Lock()
	held := s.held && s.failed == nil
	s.mu.Unlock()
	if held {
		s.client.HoldPosition(ctx, s.topic, s.consumer, s.cfg.As, 0) // else it ends by itself
	}
	return err
}

// Package progress remembers what a program has done with the messages of a topic,
// for a Scanner of package logd to begin where the last one has left off: [Memory]
// for as long as the program runs, [File] for its next run, too.
//
//	done, err := progress.OpenFile(progress.FileConfig{Path: "greetings.progress"})
//	if err != nil {
//		return err // a damaged file is not an empty one
//	}
//	defer done.Close()
//	s, err := logd.NewScanner(ctx, client, "greetings", logd.ScannerConfig{Progress: done})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	for s.Scan() {
//		if err := s.Done(s.Message(), work(s.Message())); err != nil {
//			return err
//		}
//	}
//
// Messages may be done in any order. Where the next Scanner begins is the oldest
// message that is not done, so those behind it that are done come again after a
// crash. One Memory or File is for one Scanner at a time.
package progress

import (
	"fmt"
	"sync"

	"github.com/logd-dev/logd"
)

// Memory is a [logd.Progress] for as long as the program runs. The zero Memory
// knows nothing and is ready for use. All methods are safe for concurrent use.
//
// It takes 24 bytes for every message that is started and not done, and at most
// three times that while they change; what is done takes none. Started of one
// message too many is ErrFull.
type Memory struct {
	// MaxStarted is how many messages may be started and not done. Default:
	// DefaultMaxStarted; logd.Unlimited: no limit. It must not change after the first
	// use.
	MaxStarted int64
	// Begin is what Position returns at first. Default: the zero Position. It must
	// not change after the first use.
	Begin logd.Position

	mu      sync.Mutex
	tracker tracker
}

// Position implements logd.Progress.
func (m *Memory) Position() (logd.Position, error) {
	if m.MaxStarted < logd.Unlimited {
		return logd.Position{}, fmt.Errorf("progress.Memory.MaxStarted is %d: want 0 (the default) or more, or logd.Unlimited (-1)", m.MaxStarted)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker.begin(m.Begin)
	m.tracker.restart()
	return m.tracker.position(), nil
}

// TopicID implements logd.TopicProgress.
func (m *Memory) TopicID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tracker.topic
}

// SetTopicID implements logd.TopicProgress.
func (m *Memory) SetTopicID(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker.begin(m.Begin)
	m.tracker.ofTopic(id)
	return nil
}

// Peek returns what Position would, and changes nothing.
func (m *Memory) Peek() logd.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker.begin(m.Begin)
	return m.tracker.position()
}

// Started implements logd.Progress.
func (m *Memory) Started(id logd.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker.begin(m.Begin)
	return m.tracker.start(id, m.MaxStarted)
}

// BatchEnd implements logd.Progress.
func (m *Memory) BatchEnd(id logd.ID, next int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker.batchEnd(id, next)
	return nil
}

// Done implements logd.Progress.
func (m *Memory) Done(id logd.ID, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tracker.done(id, err)
}

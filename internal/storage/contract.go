package storage

import (
	"context"

	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/commitlog"
	"github.com/logd-dev/logd/internal/topic"
)

// What a store and its logs have in common with all others is topic's.
type (
	Appended = topic.Appended
	Info     = topic.Info
	Outcome  = topic.Outcome
	Planned  = topic.Planned
	Reason   = topic.Reason
	TimeMark = topic.TimeMark
	Waker    = topic.Waker
)

// A log, and what concerns one, is commitlog's.
type (
	Log        = commitlog.Log
	Kept       = commitlog.Kept
	Run        = commitlog.Run
	LedRun     = commitlog.LedRun
	LedResult  = commitlog.LedResult
	Part       = commitlog.Part
	Range      = commitlog.Range
	Holder     = commitlog.Holder
	Held       = commitlog.Held
	TopicStats = commitlog.TopicStats
	Clock      = clock.Clock
	Timer      = clock.Timer
	Observer   = commitlog.Observer
	Error      = commitlog.Error
)

// Errors of a log that whoever replicates it branches on.
var (
	ErrOffset = commitlog.ErrOffset
	ErrMisfit = commitlog.ErrMisfit
)

// Why a partition is to be removed.
const (
	Keep         = topic.Keep
	ByPartitions = topic.ByPartitions
	ByBytes      = topic.ByBytes
	ByAge        = topic.ByAge
)

// Errors that callers branch on, with errors.Is: those of every store.
var (
	ErrNotFound        = topic.ErrNotFound
	ErrEnd             = topic.ErrEnd
	ErrReadOnly        = topic.ErrReadOnly
	ErrBusy            = topic.ErrBusy
	ErrConflict        = topic.ErrConflict
	ErrTopicName       = topic.ErrName
	ErrMaxTopics       = topic.ErrMaxTopics
	ErrTopicNotAllowed = topic.ErrNotAllowed
	ErrClosed          = topic.ErrClosed
	ErrDeleted         = topic.ErrDeleted
	ErrInDoubt         = topic.ErrInDoubt
)

var _ topic.Gatherer = (*Log)(nil)

// Contract returns the store as those who serve it see it.
func (s *Store) Contract() topic.Store { return contract{s} }

// contract has the methods of which a Store says more.
type contract struct{ *Store }

func (c contract) Log(name []byte) (topic.Log, error) {
	l, err := c.Store.Log(name)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (c contract) Create(_ context.Context, name []byte) (topic.Log, error) {
	l, err := c.Store.Create(name)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (c contract) Counts() topic.Counts {
	n := c.Store.Counts()
	return topic.Counts{Topics: int64(n.Topics), Disallowed: n.Disallowed, Misses: n.Misses, Duplicates: n.Duplicates}
}

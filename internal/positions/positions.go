// Package positions has the rules of consumers' positions, and how they are written down.
// It is pure: it reads no log and no clock. A position is where a named consumer of a
// topic is: the first message that it has not done.
//
// A [Table] has the positions that a log of records tells of. Who is to change them makes
// a [Draft] of the table, which judges one [Change] after another and has the records that
// say what has come of them. The table changes when these records come back from the log,
// in a batch of it: see [Table.Apply]. So what is in the table is what is stored, on every
// server that reads the log.
//
// Nothing here is safe for concurrent use.
package positions

import (
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Key names a position. A topic that was deleted and made anew is another one.
type Key struct{ ID, Consumer string } // the topic's id, hexadecimal

// Position is where a consumer of a topic is.
type Position struct {
	Key
	Topic   string
	At      batch.Place // the first message that is not done
	Version int64       // another one after each change of At
	Updated time.Time   // when it was saved
	TTL     time.Duration
	By      string // who has saved it; empty if that is not known
	Note    string

	// Who holds it, and for how long at a time; empty and 0 if nobody does.
	As   string
	Hold time.Duration

	until time.Duration // when the hold ends, by the clock of the table
}

// Change is what somebody wants done to a position.
type Change struct {
	Key
	Topic string
	What  What
	At    batch.Place // Set

	Versioned bool  // it is done only if the position has the version
	Version   int64 // 0: there is no position
	TTL       time.Duration
	Hold      time.Duration // of Take, and of Set that holds besides; else 0
	Lets      bool          // Set has it not be held any more
	As        string
	By, Note  string
	Force     bool // although another one holds it
}

// What is what can be done to a position.
type What uint8

// Set moves a position, or begins one; Take and Let have it held, or not any more, and
// change neither place nor version; Forget removes it.
const (
	Set What = iota
	Take
	Let
	Forget
)

// Why something is not done to a position.
var (
	// ErrNotFound is a position that there is not.
	ErrNotFound = errors.New("positions: no such position")
	// ErrLimit is one more than there may be.
	ErrLimit = errors.New("positions: maximum number of positions reached")
)

// VersionError is a change for another version than the position has.
type VersionError struct{ Present int64 } // 0: there is no position

// Error tells the version.
func (e *VersionError) Error() string {
	return fmt.Sprintf("positions: the version is %d", e.Present)
}

// HeldError is a change of a position that another one holds.
type HeldError struct {
	By   string
	Left time.Duration
}

// Error tells who holds it.
func (e *HeldError) Error() string {
	return fmt.Sprintf("positions: %s holds it for another %v", e.By, e.Left)
}

// Rules are the settings.
type Rules struct {
	Most  int           // positions there may be
	Stale time.Duration // not saved for so long is stale, where a position has no TTL
}

// Stale reports whether the position was not saved for long, at a time.
func (p *Position) Stale(r Rules, now time.Time) bool {
	ttl := p.TTL
	if ttl == 0 {
		ttl = r.Stale
	}
	return ttl > 0 && now.Sub(p.Updated) > ttl
}

// held reports whether anybody holds the position, and for how long yet.
func (p *Position) held(clock time.Duration) (left time.Duration, is bool) {
	left = p.until - clock
	return left, p.As != "" && left > 0
}

package logd

import "fmt"

// DefaultReadAhead is the default of ScannerConfig.ReadAhead.
const DefaultReadAhead = 1

// maxReadAhead bounds ReadAhead: more only takes memory.
const maxReadAhead = 1024

// ScannerConfig says where a Scanner begins, where it ends, and how it reads.
// The zero value of every field is its documented default: from the oldest
// message to the end of the log.
type ScannerConfig struct {
	// Start is where to begin, unless Progress knows. Default: AtOldest.
	Start Position
	// Progress remembers, between Scanners and between runs of a program, which
	// messages are done. The Scanner begins at the oldest one that is not, and
	// tells Progress of every message it delivers. With AtNext, AtTime or Last
	// for a Start, what comes before the first delivered message is left out if the
	// program ends before that. Default: none.
	Progress Progress

	// Times makes the Scanner ask for the time of each batch, once for what one
	// read has returned, and fill Message.Time. The time of a message stays zero
	// if the server does not know it: one that is older than TIMES, say. A Scanner
	// with Times has a connection of its own.
	Times bool

	// Limit is how many messages to deliver at most. Default, and Unlimited: no
	// limit.
	Limit int64
	// Follow makes Scan wait at the end of the log for more, instead of
	// ending. See [Scanner] for the connection this takes.
	Follow bool
	// AwaitTopic makes a Scanner that follows wait also for the topic to be
	// made, by asking for it once a second, instead of ending with ErrNoTopic.
	AwaitTopic bool
	// OnGone is called when the wanted offset was removed before it could be
	// read, or is damaged, by Scan; also when the topic was deleted and another one
	// has its name (gone.Replaced), if the Scanner follows or its Progress is
	// a TopicProgress. If it returns nil, the Scanner goes on from gone.Oldest: what was
	// between gone.Offset and that is lost to it, and of a new topic nothing is. An error
	// ends the Scanner. Default: the Scanner ends with the *GoneError.
	OnGone func(gone *GoneError) error
	// OnRetry is called with the error of a read that failed and will be tried
	// again, and with nil when the server answers after that. Calls come one
	// after another, from NewScanner and from a goroutine of the Scanner's; they
	// must neither block nor call the Scanner. Default: none.
	OnRetry func(err error)

	// ReadBytes is how many bytes to ask for at once; one batch comes whatever
	// its length. It is never more than ClientConfig's MaxReplySize. Default:
	// DefaultReadMaxBytes.
	ReadBytes int64
	// ReadAhead is how many answers, of ReadBytes each, may wait for Scan while
	// one is delivered and another one is under way. Default:
	// DefaultReadAhead.
	ReadAhead int
}

// Validate returns an error that names the field, its value and the allowed
// range if a Scanner cannot work with cfg.
func (cfg *ScannerConfig) Validate() error {
	bad := func(field string, value any, want string, args ...any) error {
		return fmt.Errorf("logd: ScannerConfig.%s is %v: want %s", field, value, fmt.Sprintf(want, args...))
	}
	switch {
	case !cfg.Start.valid():
		return bad("Start", cfg.Start, "an offset, a delta and a number of 0 or more")
	case cfg.Limit < Unlimited:
		return bad("Limit", cfg.Limit, "0 (the default) or more, or Unlimited (-1)")
	case cfg.ReadBytes < 0:
		return bad("ReadBytes", cfg.ReadBytes, "0 (the default) or more")
	case cfg.ReadAhead < 0 || cfg.ReadAhead > maxReadAhead:
		return bad("ReadAhead", cfg.ReadAhead, "0 (the default) to %d", maxReadAhead)
	case cfg.AwaitTopic && !cfg.Follow:
		return bad("AwaitTopic", true, "Follow with it")
	}
	return nil
}

// withDefaults returns a copy in which no field that has a default is zero.
func (cfg *ScannerConfig) withDefaults() ScannerConfig {
	c := *cfg
	c.Limit = max(c.Limit, 0)
	if c.Start.IsZero() {
		c.Start = AtOldest()
	}
	if c.OnRetry == nil {
		c.OnRetry = func(error) {}
	}
	setDefault(&c.ReadBytes, DefaultReadMaxBytes)
	setDefault(&c.ReadAhead, DefaultReadAhead)
	return c
}

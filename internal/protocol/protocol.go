// Package protocol is the text protocol of logd, version 1: requests,
// replies, errors and limits, as docs/protocol.md describes them.
//
// It turns lines into values and values into lines. It opens no socket, keeps
// no state and stores nothing: the server and the client bring the bytes.
// Parsing and appending allocate nothing, but for bodies of lines, and every
// function is safe for concurrent use.
package protocol

import (
	"bytes"
	"math"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Limits and defaults that both sides of the protocol know.
const (
	// Version is the protocol version this package speaks.
	Version = 1
	// MaxLine is the length of the longest request line, in bytes, its line
	// end not counted.
	MaxLine = 1024
	// Name is what TLS calls the protocol, by ALPN.
	Name = "logd"
	// MaxToken is the length of the longest token, in bytes.
	MaxToken = 512
	// DefaultAddr is where a server listens unless told otherwise.
	DefaultAddr = "127.0.0.1:1774"
	// DefaultMaxBatchSize is the size of the largest batch, envelope and data,
	// that a server takes unless told otherwise.
	DefaultMaxBatchSize = 65536
	// ContentType names one request, and its answer, over HTTP.
	ContentType = "application/logd"
)

// Command is a request's first word.
type Command uint8

// The commands. Unknown is none of them.
const (
	Unknown Command = iota
	Batch
	Read
	Tail
	Config
	Stats
	Close
	Ping
	Topics
	Info
	Seek
	Hooks
	Hook
	Retention
	Delete
	Trim
	Times
	Help
	Cluster
	Groups
	Transfer
	Drain
	Leave
	Replace
	Set
	Hello
	Auth
	Position
	Positions
	Create
	numCommands
)

// NumCommands is the number of values of Command, Unknown included: a bound
// for arrays indexed by Command.
const NumCommands = int(numCommands)

var commandNames = [numCommands]string{
	Unknown: "unknown", Batch: "BATCH", Read: "READ", Tail: "TAIL", Config: "CONFIG", Stats: "STATS",
	Close: "CLOSE", Ping: "PING", Topics: "TOPICS", Info: "INFO", Seek: "SEEK",
	Hooks: "HOOKS", Hook: "HOOK", Retention: "RETENTION", Delete: "DELETE", Trim: "TRIM",
	Times: "TIMES", Help: "HELP",
	Cluster: "CLUSTER", Groups: "GROUPS", Transfer: "TRANSFER", Drain: "DRAIN",
	Leave: "LEAVE", Replace: "REPLACE", Set: "SETTING", Hello: "HELLO", Auth: "AUTH", Position: "POSITION", Positions: "POSITIONS", Create: "CREATE",
}

// String returns the command as it stands on the wire.
func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return "unknown"
}

// Request is one parsed request line. Fields that the command does not have
// are zero.
type Request struct {
	Command Command
	Topic   []byte // aliases the parsed line; SETTING: a pattern, or nothing

	Offset   int64         // READ, TRIM; HOOK: the partition's first; TIMES: where to begin
	To       int64         // TIMES: the offset to end before
	Messages int64         // READ, TAIL
	MaxBytes int64         // READ, TAIL; 0 when absent
	Waits    bool          // READ, TAIL: wait= was given
	Wait     time.Duration // how long
	Verify   bool          // READ: check what is sent first
	Millis   int64         // SEEK: milliseconds since 1970-01-01 UTC
	Skip     bool          // HOOK: skip it, else retry it
	Keep     Keep          // RETENTION
	ID       []byte        // DELETE: hexadecimal digits; aliases the parsed line
	Now      bool          // DELETE: keep no files
	Fresh    bool          // READ, TAIL, INFO, SEEK, TOPICS: see all that was acknowledged before

	// Of the commands of a cluster, aliasing the parsed line.
	Member []byte // TRANSFER, DRAIN: a name; LEAVE, REPLACE: a name or an id
	With   []byte // REPLACE: by whom
	Group  int64  // TRANSFER, -1 if it names a topic
	Off    bool   // DRAIN: no more
	Force  bool   // LEAVE: although too few voters are left
	Key    []byte // SETTING
	Value  []byte // SETTING; may be empty
	Try    bool   // SETTING: tell what it would change
	All    bool   // INFO: tell all settings, also those that are the server's

	// Of HELLO. Offers is the list of codecs as it was sent, Codecs those of them that
	// are known here.
	Speaks int64  // the newest version of the protocol that the client knows
	Offers []byte // aliases the parsed line; empty if there is no list
	Codecs batch.Codecs
	Client []byte // aliases the parsed line; empty if the client does not say
	Token  []byte // AUTH; aliases the parsed line

	Consumer  []byte            // POSITION; aliases the parsed line
	Position  *PositionRequest  // POSITION
	Positions *PositionsRequest // POSITIONS

	// Batch is the envelope of a BATCH. When ParseRequest fails, Batch.Size is
	// the size of the data that follows the line, or -1 where it can't be
	// known.
	Batch batch.Header
	// Unsummed is set for a BATCH that leaves the checksum to the server: its
	// word is "-", and Batch.CRC is to be computed from the data.
	Unsummed bool
}

// Keep is what RETENTION asks about: settings other than the server's. A field
// is -1 where the server's counts.
type Keep struct {
	Partitions int64
	Bytes      int64
	Age        time.Duration
}

// ParseRequest parses a request line, given without its line end, into req,
// which it resets first. req.Topic and req.ID alias line.
//
// The error is ErrInvalidProtocol where the line begins with no command and
// ErrInvalidRequest for a command with wrong arguments; both are of type
// *Error.
func ParseRequest(line []byte, req *Request) error {
	*req = Request{}
	name, w := line, words{}
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		name, w = line[:i], words{line[i+1:], true}
	}
	switch req.Command = commandOf(name); req.Command {
	case Unknown:
		return ErrInvalidProtocol
	case Batch:
		return parseBatch(line, req)
	}
	if !parseArguments(w, req) {
		return ErrInvalidRequest
	}
	return nil
}

// commandOf returns the command of that name, or Unknown.
func commandOf(name []byte) Command {
	switch string(name) {
	case "BATCH":
		return Batch
	case "READ":
		return Read
	case "TAIL":
		return Tail
	case "CONFIG":
		return Config
	case "STATS":
		return Stats
	case "CLOSE":
		return Close
	case "PING":
		return Ping
	case "TOPICS":
		return Topics
	case "INFO":
		return Info
	case "SEEK":
		return Seek
	case "HOOKS":
		return Hooks
	case "HOOK":
		return Hook
	case "RETENTION":
		return Retention
	case "DELETE":
		return Delete
	case "TRIM":
		return Trim
	case "TIMES":
		return Times
	case "HELP":
		return Help
	case "CLUSTER":
		return Cluster
	case "GROUPS":
		return Groups
	case "TRANSFER":
		return Transfer
	case "DRAIN":
		return Drain
	case "LEAVE":
		return Leave
	case "REPLACE":
		return Replace
	case "SETTING":
		return Set
	case "HELLO":
		return Hello
	case "AUTH":
		return Auth
	case "POSITION":
		return Position
	case "POSITIONS":
		return Positions
	case "CREATE":
		return Create
	}
	return Unknown
}

// parseArguments parses what follows the command, and reports whether it is
// right.
func parseArguments(w words, req *Request) bool {
	switch req.Command {
	case Read, Tail:
		return parseRead(w, req)
	case Seek:
		return parseNumbers(&w, req, &req.Millis) && parseFresh(w, req)
	case Times:
		return parseNumbers(&w, req, &req.Offset, &req.To) && !w.more
	case Trim:
		return parseNumbers(&w, req, &req.Offset) && !w.more
	case Info:
		return parseNumbers(&w, req) && parseInfoArgs(w, req)
	case Create:
		return parseNumbers(&w, req) && !w.more
	case Topics:
		return parseFresh(w, req)
	case Transfer, Drain, Leave, Replace, Set:
		return parseClusterCommand(w, req)
	case Hook:
		return parseHook(w, req)
	case Retention:
		return parseRetention(w, req)
	case Delete:
		return parseDelete(w, req)
	case Hello:
		return parseHello(w, req)
	case Position:
		return parsePosition(w, req)
	case Positions:
		return parsePositions(w, req)
	case Auth:
		req.Token, _ = w.next()
		return len(req.Token) >= 1 && len(req.Token) <= MaxToken && !w.more
	}
	return !w.more
}

// parseBatch parses the envelope of a BATCH.
func parseBatch(line []byte, req *Request) error {
	h, err := batch.ParseHeader(line)
	if err != nil {
		h, err = batch.ParseTypedHeader(line)
		req.Unsummed = err == nil
	}
	req.Batch, req.Topic = h, h.Topic
	if err != nil {
		return ErrInvalidRequest
	}
	return nil
}

// parseNumbers parses a topic and then as many numbers.
func parseNumbers(w *words, req *Request, numbers ...*int64) bool {
	var ok bool
	if req.Topic, ok = w.topic(); !ok {
		return false
	}
	for _, n := range numbers {
		if *n, ok = w.int(); !ok {
			return false
		}
	}
	return true
}

// parseFresh parses fresh=1, or nothing.
func parseFresh(w words, req *Request) bool {
	if w.more {
		word, _ := w.next()
		req.Fresh = string(word) == "fresh=1"
		return req.Fresh && !w.more
	}
	return true
}

// parseRead parses the arguments of READ and TAIL, which differ by the offset
// alone.
func parseRead(w words, req *Request) bool {
	var ok bool
	if req.Topic, ok = w.topic(); !ok {
		return false
	}
	if req.Command == Read {
		if req.Offset, ok = w.int(); !ok {
			return false
		}
	}
	if req.Messages, ok = w.int(); !ok {
		return false
	}
	var hasMax bool
	for w.more {
		key, n, ok := w.option()
		if !ok {
			return false
		}
		switch {
		case string(key) == "wait" && !req.Waits:
			req.Waits = true
			req.Wait = milliseconds(n)
		case string(key) == "max-bytes" && !hasMax:
			hasMax = true
			req.MaxBytes = max(n, 1) // 0 would read as absent
		case string(key) == "verify" && n == 1 && !req.Verify && req.Command == Read:
			req.Verify = true
		case string(key) == "fresh" && n == 1 && !req.Fresh:
			req.Fresh = true
		default:
			return false
		}
	}
	return true
}

// parseHook parses the arguments of HOOK.
func parseHook(w words, req *Request) bool {
	topic, ok := w.topic()
	base, ok2 := w.int()
	action, ok3 := w.next()
	if !ok || !ok2 || !ok3 || w.more {
		return false
	}
	req.Topic, req.Offset = topic, base
	switch string(action) {
	case "retry":
	case "skip":
		req.Skip = true
	default:
		return false
	}
	return true
}

// parseDelete parses the arguments of DELETE. The id is what a newer topic of
// the same name does not have, so there is no DELETE without it.
func parseDelete(w words, req *Request) bool {
	var ok bool
	if req.Topic, ok = w.topic(); !ok {
		return false
	}
	for w.more {
		word, _ := w.next()
		switch key, value, _ := bytes.Cut(word, []byte("=")); {
		case string(key) == "id" && req.ID == nil && ValidID(value):
			req.ID = value
		case string(word) == "now=1" && !req.Now:
			req.Now = true
		default:
			return false
		}
	}
	return req.ID != nil
}

// ValidID reports whether id is one of a topic: hexadecimal digits, one at
// least.
func ValidID[T string | []byte](id T) bool {
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(id) > 0
}

// parseRetention parses the arguments of RETENTION.
func parseRetention(w words, req *Request) bool {
	var ok bool
	if req.Topic, ok = w.topic(); !ok {
		return false
	}
	req.Keep = Keep{-1, -1, -1}
	for w.more {
		key, n, ok := w.option()
		if !ok {
			return false
		}
		switch {
		case string(key) == "partitions" && req.Keep.Partitions < 0:
			req.Keep.Partitions = n
		case string(key) == "bytes" && req.Keep.Bytes < 0:
			req.Keep.Bytes = n
		case string(key) == "age" && req.Keep.Age < 0:
			req.Keep.Age = milliseconds(n)
		default:
			return false
		}
	}
	return true
}

// words takes a line apart at single spaces.
type words struct {
	rest []byte
	more bool // there is another word, perhaps an empty one
}

func (w *words) next() (word []byte, ok bool) {
	if !w.more {
		return nil, false
	}
	if i := bytes.IndexByte(w.rest, ' '); i >= 0 {
		word, w.rest = w.rest[:i], w.rest[i+1:]
		return word, true
	}
	word, w.rest, w.more = w.rest, nil, false
	return word, true
}

func (w *words) int() (int64, bool) {
	word, ok := w.next()
	if !ok {
		return 0, false
	}
	return batch.ParseInt(word)
}

func (w *words) topic() ([]byte, bool) {
	word, ok := w.next()
	return word, ok && batch.ValidTopic(word)
}

// option takes a word apart that is a name, "=" and a number.
func (w *words) option() (name []byte, n int64, ok bool) {
	word, _ := w.next()
	name, value, _ := bytes.Cut(word, []byte("="))
	n, ok = batch.ParseInt(value)
	return name, n, ok
}

// milliseconds returns a duration; one that is too long for the type is for
// ever.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

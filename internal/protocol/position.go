package protocol

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Limits of POSITION and POSITIONS.
const (
	// MaxConsumer is the length of the longest name of a consumer, and of what a holder
	// or a note may be, in bytes.
	MaxConsumer = 64
	// MaxPositions is how many lines an answer to POSITIONS has at most.
	MaxPositions = 1000
	// MinHold and MaxHold bound for how long a position can be held.
	MinHold = time.Second
	MaxHold = 5 * time.Minute
)

// PositionRequest is what POSITION asks for. One of Set, Hold, Let and Forget says what is
// to be done; if none is, the position is asked for.
type PositionRequest struct {
	Set    bool // at= was given
	Forget bool
	Let    bool // hold=0: it is not held any more
	At     batch.Place

	Versioned bool  // version= was given
	Version   int64 // that the position has to have; 0: there must be none
	ID        string
	TTL       time.Duration // 0: none was given
	Hold      time.Duration // 0: none was given, or Let
	As        string
	Note      string
	Force     bool
}

// PositionsRequest is what POSITIONS asks for. The topic is that of the Request.
type PositionsRequest struct {
	AfterTopic, AfterConsumer string // empty: from the first on
	Limit                     int64  // 0: none was given
}

// ValidConsumer reports whether name can be the name of a consumer, a holder or a note.
func ValidConsumer[T string | []byte](name T) bool { return validWord(name, MaxConsumer) }

// parsePosition parses the arguments of POSITION.
func parsePosition(w words, req *Request) (ok bool) {
	if req.Topic, ok = w.topic(); !ok {
		return false
	}
	if req.Consumer, ok = w.next(); !ok || !ValidConsumer(req.Consumer) {
		return false
	}
	p := new(PositionRequest)
	req.Position = p
	held := false
	seen := make(map[string]bool)
	for w.more {
		word, _ := w.next()
		name, value, _ := bytes.Cut(word, []byte("="))
		key := string(name)
		if seen[key] {
			return false
		}
		seen[key] = true
		switch key {
		case "fresh":
			req.Fresh, ok = true, string(value) == "1"
		case "at":
			p.Set = true
			p.At, ok = batch.ParsePlace(value)
		case "version":
			p.Versioned = true
			p.Version, ok = batch.ParseInt(value)
		case "id":
			p.ID, ok = string(value), ValidID(value)
		case "ttl":
			var n int64
			n, ok = batch.ParseInt(value)
			p.TTL, ok = milliseconds(n), ok && n > 0
		case "hold":
			var n int64
			n, ok = batch.ParseInt(value)
			p.Hold, held = milliseconds(n), true
			ok = ok && (n == 0 || p.Hold >= MinHold && p.Hold <= MaxHold)
		case "as":
			p.As, ok = string(value), ValidConsumer(value)
		case "note":
			p.Note, ok = string(value), ValidConsumer(value)
		case "force":
			p.Force, ok = true, string(value) == "1"
		case "forget":
			p.Forget, ok = true, string(value) == "1"
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	p.Let = held && p.Hold == 0
	changes := p.Set || p.Forget || held
	switch {
	case held && p.As == "", req.Fresh && changes, !changes && len(seen) > 0 && !req.Fresh:
		return false
	case !changes:
		return len(seen) <= 1
	case p.Forget:
		return !p.Set && !held && p.ID == "" && p.TTL == 0 && p.Note == ""
	case !p.Set:
		return !p.Versioned && p.ID == "" && p.TTL == 0 && p.Note == ""
	}
	return true
}

// parsePositions parses the arguments of POSITIONS.
func parsePositions(w words, req *Request) bool {
	p := new(PositionsRequest)
	req.Positions = p
	for w.more {
		word, _ := w.next()
		name, value, _ := bytes.Cut(word, []byte("="))
		ok := false
		switch string(name) {
		case "topic":
			ok = req.Topic == nil && batch.ValidTopic(value)
			req.Topic = value
		case "after":
			topic, consumer, _ := bytes.Cut(value, []byte("/"))
			ok = p.AfterTopic == "" && batch.ValidTopic(topic) && ValidConsumer(consumer)
			p.AfterTopic, p.AfterConsumer = string(topic), string(consumer)
		case "limit":
			was := p.Limit
			p.Limit, ok = batch.ParseInt(value)
			ok = ok && was == 0 && p.Limit >= 1 && p.Limit <= MaxPositions
		}
		if !ok {
			return false
		}
	}
	return true
}

func appendPositionRequest(dst []byte, req *Request) []byte {
	dst = appendTopic(dst, req)
	dst = append(dst, ' ')
	dst = append(dst, req.Consumer...)
	text := func(key, value string) {
		if value != "" {
			dst = append(append(append(dst, ' '), key...), value...)
		}
	}
	number := func(key string, n int64) { text(key, strconv.FormatInt(n, 10)) }
	p := req.Position
	if p == nil {
		return appendFresh(dst, req)
	}
	if p.Set {
		text("at=", string(batch.AppendPlace(nil, p.At)))
	}
	if p.Versioned {
		number("version=", p.Version)
	}
	text("id=", p.ID)
	if p.TTL > 0 {
		number("ttl=", millis(p.TTL))
	}
	if p.Hold > 0 || p.Let {
		number("hold=", millis(p.Hold))
	}
	text("as=", p.As)
	text("note=", p.Note)
	if p.Force {
		text("force=", "1")
	}
	if p.Forget {
		text("forget=", "1")
	}
	return appendFresh(dst, req)
}

func appendPositionsRequest(dst []byte, req *Request) []byte {
	dst = append(dst, req.Command.String()...)
	if len(req.Topic) > 0 {
		dst = append(append(dst, " topic="...), req.Topic...)
	}
	p := req.Positions
	if p == nil {
		return dst
	}
	if p.AfterTopic != "" {
		dst = append(dst, " after="+p.AfterTopic+"/"+p.AfterConsumer...)
	}
	if p.Limit > 0 {
		dst = strconv.AppendInt(append(dst, " limit="...), p.Limit, 10)
	}
	return dst
}

// PositionState is what there is to say of where a position is.
type PositionState string

// The states.
const (
	PositionOK    PositionState = "ok"
	PositionGone  PositionState = "gone"  // before the oldest offset
	PositionAhead PositionState = "ahead" // of what the one that was asked has
	PositionStale PositionState = "stale" // not saved for long
)

// PositionInfo is a line of POSITION and POSITIONS: where a consumer of a topic is. A
// text that is empty, a time that is zero and a number that is -1 is one that there is
// not.
type PositionInfo struct {
	Topic, Consumer string
	At              batch.Place // the first message that is not done
	Version         int64
	State           PositionState
	LagBytes        int64
	LagMessages     int64 // -1: it can't be told exactly
	LagMS           int64 // age of the message at At, in milliseconds; 0 at the end
	LostBytes       int64
	Updated         time.Time
	By              string // who has set it
	Holder          string
	HoldMS          int64
	TTL             int64 // in milliseconds
	Note            string
}

// AppendPosition appends a line.
func AppendPosition(dst []byte, i *PositionInfo) []byte {
	p := pairs{dst}
	p.text("topic", i.Topic)
	p.text("consumer", i.Consumer)
	p.key("at")
	p.dst = batch.AppendPlace(p.dst, i.At)
	p.number("version", i.Version)
	p.text("state", string(i.State))
	p.number("lag-bytes", i.LagBytes)
	p.perhaps("lag-messages", i.LagMessages)
	p.perhaps("lag-ms", i.LagMS)
	p.number("lost-bytes", i.LostBytes)
	p.word("updated", formatTime(i.Updated))
	p.word("by", i.By)
	p.word("holder", i.Holder)
	p.perhaps("hold-ms", i.HoldMS)
	p.perhaps("ttl", i.TTL)
	p.word("note", i.Note)
	return p.end()
}

// ParsePositions parses the body of POSITION or POSITIONS.
func ParsePositions(body []byte) ([]PositionInfo, error) {
	var all []PositionInfo
	for line := range bodyLines(body) {
		var i PositionInfo
		var at, updated string
		err := parsePairs(line, map[string]any{
			"topic": &i.Topic, "consumer": &i.Consumer, "at": &at, "version": &i.Version, "state": (*string)(&i.State),
			"lag-bytes": &i.LagBytes, "lag-messages": (*perhaps)(&i.LagMessages), "lag-ms": (*perhaps)(&i.LagMS), "lost-bytes": &i.LostBytes,
			"updated": &updated, "by": (*absent)(&i.By), "holder": (*absent)(&i.Holder), "hold-ms": (*perhaps)(&i.HoldMS),
			"ttl": (*perhaps)(&i.TTL), "note": (*absent)(&i.Note),
		})
		if err != nil {
			return nil, err
		}
		var ok bool
		if i.At, ok = batch.ParsePlace([]byte(at)); !ok || !batch.ValidTopic(i.Topic) || !ValidConsumer(i.Consumer) {
			return nil, errors.New(strconv.Quote(line) + " is no position")
		}
		if updated != none && updated != "" {
			if i.Updated, err = time.Parse(time.RFC3339, updated); err != nil {
				return nil, errors.New(strconv.Quote(line) + " has a time that makes no sense")
			}
		}
		all = append(all, i)
	}
	return all, nil
}

// none stands for a value that there is not.
const none = "-"

// perhaps is a number that is -1 if there is none, absent a text that is empty then.
type (
	perhaps int64
	absent  string
)

func (p *pairs) perhaps(key string, n int64) {
	if n < 0 {
		p.text(key, none)
		return
	}
	p.number(key, n)
}

func (p *pairs) word(key, value string) {
	if value == "" {
		value = none
	}
	p.text(key, value)
}

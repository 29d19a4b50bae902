// Package problem is how what goes wrong is told over HTTP: as application/problem+json
// (RFC 9457), with a name that is stable, in words that say what was wrong and what is
// right, and with the protocol's reason if it has one.
package problem

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
)

// ContentType is that of an answer which tells a problem.
const ContentType = "application/problem+json"

// Kind is a kind of problem. Kinds are compared by identity.
type Kind struct {
	Name   string // stable: the end of its type
	Status int
	Title  string // the same in all answers
	Reason string // of the protocol, or empty
}

// The kinds. Those of the protocol have its reasons, with hyphens, and its statuses.
var (
	NotFound         = of(protocol.ErrNotFound, "There is no such thing")
	InvalidRequest   = of(protocol.ErrInvalidRequest, "The request makes no sense")
	InvalidProtocol  = of(protocol.ErrInvalidProtocol, "That is no request")
	TooLarge         = of(protocol.ErrTooLarge, "It is too large")
	ChecksumMismatch = of(protocol.ErrChecksumMismatch, "The data does not match its checksum")
	MaxTopics        = of(protocol.ErrMaxTopics, "There are as many topics as there may be")
	TopicNotAllowed  = of(protocol.ErrTopicNotAllowed, "There may be no such topic")
	Unauthorized     = of(protocol.ErrUnauthorized, "No rule allows it to who asks")
	UnsupportedCodec = of(protocol.ErrUnsupportedCodec, "The codec is not taken")
	NotLeader        = of(protocol.ErrNotLeader, "Another member can do that, this one can't")
	Busy             = of(protocol.ErrBusy, "There is too much to do right now")
	ShuttingDown     = of(protocol.ErrShuttingDown, "The server shuts down")
	ReadOnly         = of(protocol.ErrReadOnly, "The topic takes no messages right now")
	OutOfOrder       = of(protocol.ErrOutOfOrder, "The number is not the next one of its producer")
	SequenceConflict = of(protocol.ErrSequenceConflict, "The number is that of other messages")
	Internal         = of(protocol.ErrInternal, "The server has failed")
	Version          = of(protocol.ErrVersionConflict, "It is another version by now")
	Held             = of(protocol.ErrHeld, "Another one holds it")
	MaxPositions     = of(protocol.ErrMaxPositions, "There are as many positions as there may be")

	NotAPlace    = &Kind{"not-a-place", 400, "No message begins there", protocol.ErrInvalidRequest.Reason}
	Refused      = &Kind{"refused", 403, "A page of another site may have sent it", protocol.ErrUnauthorized.Reason}
	BeyondEnd    = &Kind{"beyond-end", 404, "The topic is not that long", protocol.ErrNotFound.Reason}
	Method       = &Kind{"invalid-request", 405, "The resource does not have that method", protocol.ErrInvalidRequest.Reason}
	Timeout      = &Kind{"timeout", 408, "The request was too slow", ""}
	Gone         = &Kind{"gone", 410, "It was removed by retention", protocol.ErrNotFound.Reason}
	Damaged      = &Kind{"damaged", 410, "It is damaged and was set aside", protocol.ErrNotFound.Reason}
	Precondition = &Kind{"precondition", 428, "The request has to say what it expects", ""}
	Durability   = &Kind{"durability", 412, "Messages are not stored as durably here", ""}
	ContentTypes = &Kind{"content-type", 415, "The body is of another type than is taken", protocol.ErrInvalidRequest.Reason}
	Unknown      = &Kind{"unknown", 504, "The messages may be stored or not", ""}
)

// of returns the kind that is an answer of the protocol.
func of(err *protocol.Error, title string) *Kind {
	k := &Kind{strings.ReplaceAll(err.Reason, " ", "-"), err.Status, title, err.Reason}
	kinds[err.Reason] = k
	return k
}

// kinds are those of the protocol, by reason.
var kinds = make(map[string]*Kind)

// Problem is what went wrong with a request.
type Problem struct {
	Kind       *Kind
	Detail     string
	Reason     string // as the protocol said it; empty for the kind's
	RetryAfter time.Duration
	Members    []Member // what there is besides, in this order
	Allow      string   // the methods that there are, with Method
	location   string   // where the same request is to be made
}

// Member is one more thing that a problem tells.
type Member struct {
	Key   string
	Value any // that json.Marshal takes
}

// Error returns what is wrong, in words.
func (p *Problem) Error() string { return p.Kind.Title + ": " + p.Detail }

// New returns a problem of a kind. What stands in detail of what came from outside is to
// be quoted, and no path of this machine may be.
func New(k *Kind, detail string) *Problem { return &Problem{Kind: k, Detail: detail} }

// With returns the problem with one more member.
func (p *Problem) With(key string, value any) *Problem {
	p.Members = append(p.Members, Member{key, value})
	return p
}

// Member returns what else the problem tells under a key, or nil.
func (p *Problem) Member(key string) any {
	for _, m := range p.Members {
		if m.Key == key {
			return m.Value
		}
	}
	return nil
}

// Redirect has the client make the same request at a URL.
func (p *Problem) Redirect(url string) {
	k := *p.Kind
	k.Status, p.Kind, p.location = http.StatusTemporaryRedirect, &k, url
}

// retryAfter is what a client is told of when to ask again if nobody knows.
const retryAfter = time.Second

// details say of answers of the protocol what is to be done, where the handler has
// nothing better to say.
var details = map[*Kind]string{
	NotFound:         "What the request names does not exist.",
	InvalidRequest:   "The server does not take such a request.",
	TooLarge:         "It is larger than the server takes: see max_batch_size of /api/v1/config.",
	MaxTopics:        "The setting topics says how many there may be.",
	TopicNotAllowed:  "The setting topics-whitelist says which topics there may be.",
	Unauthorized:     "Show a token (Authorization: Bearer TOKEN) or a client certificate of an identity that may do it.",
	UnsupportedCodec: "A batch is compressed in a codec that the request has not offered: see Logd-Codecs.",
	NotLeader:        "Ask the leader.",
	Busy:             "Ask again later.",
	MaxPositions:     "The setting positions says how many there may be.",
	ShuttingDown:     "Ask another member, or again later.",
	ReadOnly:         "The disk is full or has failed: the topic's state says which. Reads go on.",
	Internal:         "The server's log says more.",
	Unknown:          "Send the request again with the same key or number, by which it is stored once; without one, read what is stored.",
}

// From returns err as a problem. It is that already, an answer of the protocol,
// ask.ErrUnknown, or else a fault of the server's own.
func From(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, ask.ErrUnknown) {
		return New(Unknown, details[Unknown])
	}
	perr, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		return New(Internal, details[Internal])
	}
	known, ok := protocol.ErrorFor(perr.Reason)
	if !ok {
		known = perr
	}
	k := kinds[known.Reason]
	if leader, is := strings.CutPrefix(perr.Reason, NotLeader.Reason+" "); is {
		p := New(NotLeader, "The leader is at "+strconv.Quote(leader)+".").With("leader", leader)
		p.Reason = perr.Reason
		return p
	}
	if k == nil {
		k = Internal
	}
	p := New(k, details[k])
	p.Reason, p.RetryAfter = perr.Reason, perr.RetryAfter
	switch {
	case k == OutOfOrder:
		expected, _ := protocol.ParseOutOfOrder(perr.Reason)
		p.Detail = "The next number of the producer is " + strconv.FormatInt(expected, 10) + "."
		p.With("expected", expected)
	case k == Version:
		version, _ := protocol.ParseVersionConflict(perr.Reason)
		p.Detail = "Its version is " + strconv.FormatInt(version, 10) + " by now."
		if version == 0 {
			p.Detail = "There is none by now."
		}
		p.With("version", version)
	case k == Held:
		left, _ := protocol.ParseHeld(perr.Reason)
		p.Detail = "Another one holds it for another " + left.String() + "."
		p.With("left_ms", left.Milliseconds())
	case perr == protocol.ErrNotLeader:
		// Nobody is known to lead: there will be somebody.
		p.Kind, p.Detail = noLeader, "No member is known to lead right now. Ask again."
	}
	return p
}

// noLeader is what a client that is told to go elsewhere could not use.
var noLeader = &Kind{NotLeader.Name, http.StatusServiceUnavailable, "No member leads right now", NotLeader.Reason}

// JSON returns the problem as it is sent.
func (p *Problem) JSON() []byte {
	var b bytes.Buffer
	member := func(key string, value any) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		text, err := Marshal(value)
		if err != nil {
			text = []byte("null")
		}
		b.WriteString(strconv.Quote(key) + ":")
		b.Write(text)
	}
	member("type", "urn:logd:"+p.Kind.Name)
	member("title", p.Kind.Title)
	member("status", p.Kind.Status)
	member("detail", p.Detail)
	if reason := p.Reason; reason != "" {
		member("reason", reason)
	} else if p.Kind.Reason != "" {
		member("reason", p.Kind.Reason)
	}
	for _, m := range p.Members {
		member(m.Key, m.Value)
	}
	return append(append([]byte("{"), b.Bytes()...), '}')
}

// Marshal is json.Marshal that leaves <, > and & as they are: nothing here is put into a
// page as it stands.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// closing are the statuses after which the connection is closed: nobody knows where the
// next request would begin, or wants it. Of a body that is refused so, up to so many
// bytes are read: a client that is still sending would not see the answer.
var closing = map[int]int64{
	http.StatusBadRequest: 4 << 20, http.StatusUnauthorized: 64 << 10, http.StatusForbidden: 64 << 10,
	http.StatusRequestTimeout: 0, http.StatusRequestEntityTooLarge: 4 << 20, http.StatusUnsupportedMediaType: 4 << 20,
}

// A body for another member is not read either, but for a small one, which is soon over: the
// connection is good for the next request then.
const (
	smallBody     = 64 << 10
	elsewhereBody = 4 << 20
)

// Write answers a request with the problem. Nothing was sent yet.
func (p *Problem) Write(w http.ResponseWriter, r *http.Request) {
	text := append(p.JSON(), '\n')
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Disposition", "ETag", "Trailer", "Content-Length"} {
		h.Del(name)
	}
	switch p.Kind.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusLocked, http.StatusTooManyRequests:
		after := p.RetryAfter
		if after <= 0 {
			after = retryAfter
		}
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	if p.Allow != "" {
		h.Set("Allow", p.Allow)
	}
	if p.location != "" {
		h.Set("Location", p.location)
	}
	h.Set("Content-Type", ContentType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	most, closes := closing[p.Kind.Status]
	if s := p.Kind.Status; (s == http.StatusTemporaryRedirect || s == http.StatusMisdirectedRequest) && (r.ContentLength < 0 || r.ContentLength > smallBody) {
		most, closes = elsewhereBody, true
	}
	if closes {
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.Kind.Status)
	w.Write(text) // to a client that is gone or not
	if closes && http.NewResponseController(w).Flush() == nil && r.Header.Get("Expect") == "" {
		io.CopyN(io.Discard, r.Body, most)
	}
}

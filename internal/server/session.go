package server

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// session is one client's use of the protocol: it is fed the bytes of requests
// and yields those of answers. It has no socket, no goroutine and no deadline.
// Who drives it calls step, does what step says, and calls step again:
//
//	client ──bytes──► driver ──step(bytes)──► session ──dispatch──► store
//	       ◄────────        ◄──out and view──         ◄──Responder──
//
// What of it may block on the disk is step itself, which appends and reads, and
// commit.
type session struct {
	caller

	out  []byte     // answers that are to be sent
	view topic.View // batches that are to be sent behind them; the driver closes it

	p   []byte // what step was given and has not taken
	req protocol.Request

	phase   phase
	skip    int64  // when dropping: so many bytes are to come
	hint    string // when ending: for a person, what the last answer says besides
	refuses bool   // the next request: see refuseNext

	// For the driver's deadlines. taken tells that a request was taken whole since
	// the driver has cleared it. A batch that is arriving is typed, since its line
	// ended with a bare LF, or can't become a whole one, since a line in it did.
	taken         bool
	typed, broken bool
}

// phase is what a session makes of the bytes that come next.
type phase uint8

const (
	taking   phase = iota // requests
	dropping              // the rest of a batch that was refused
	waiting               // nothing yet: a read waits for its log
	delayed               // nothing yet: a wrong token waits for its answer
	ending                // nothing: the last answer is given, or will be by commit
)

// action is what a session needs done before the next step.
type action uint8

const (
	goOn       action = iota // nothing; step does not return it
	readMore                 // out is sent, and more bytes are awaited
	flushOut                 // out is sent: it gets long
	sendView                 // out is sent, and then view
	commitAll                // commit is called
	waitForLog               // out is sent, and then what lets a read resume is awaited
	pause                    // out is sent, and then waited until the claim has nothing left to wait for
	holdBack                 // out is sent, and then as long waited as delay says
	hangUp                   // out is sent, and the connection closed
)

// sendPending is how many bytes of answers are sent without waiting for more:
// a few short requests can have long answers.
const sendPending = 64 << 10

// keepPending bounds the memory for answers that an idle connection keeps.
const keepPending = 1 << 10

// maxReplies bounds the answers that wait for commit: one takes many times
// the memory of the shortest BATCH that is refused.
const maxReplies = 256

// step deals with the requests that begin with p and returns how many bytes of it
// were taken. The next call is given the rest and what has come after it. Until
// step returns readMore, waitForLog, pause, holdBack or hangUp, the bytes stay where they are, also those
// that were taken.
func (s *session) step(p []byte) (taken int, do action) {
	s.p = p
	for do == goOn {
		do = s.next()
		if do == goOn && len(s.replies) >= maxReplies {
			do = commitAll
		}
		if do == goOn && len(s.out) >= sendPending && s.phase != ending { // the hint belongs to the last line of out
			do = flushOut
		}
	}
	taken = len(p) - len(s.p)
	s.p = nil
	switch do {
	case readMore:
		s.req = protocol.Request{} // whose topic would keep a buffer that is given back
	case hangUp:
		if s.hint != "" {
			s.out = fmt.Appendf(bytes.TrimSuffix(s.out, []byte("\r\n")), ": %s\r\n", s.hint)
		}
	}
	return taken, do
}

// next deals with one request.
func (s *session) next() action {
	switch s.phase {
	case ending:
		return s.settled(hangUp)
	case waiting:
		s.phase = taking
		return s.after(s.resume(s))
	case delayed:
		s.phase = taking
		s.refuse(s, protocol.Auth, nil, protocol.ErrUnauthorized)
		if s.delay.last {
			s.phase = ending
		}
		return goOn
	case dropping:
		return s.drop()
	}
	line, end, ok, err := firstLine(s.p)
	if err != nil {
		s.endWith(protocol.ErrInvalidProtocol, "")
		return goOn
	}
	if !ok {
		return s.settled(readMore)
	}
	if s.refuses {
		s.endWith(protocol.ErrShuttingDown, "")
		return goOn
	}
	perr := protocol.ParseRequest(line, &s.req)
	if s.req.Command == protocol.Batch {
		return s.batch(len(line)+end, end == len("\r\n"), perr)
	}
	if s.pending() {
		return commitAll
	}
	if err, stays := s.admit(&s.req, 0, 0); err != nil {
		s.take(len(line) + end)
		s.taken, s.claim = true, claim{}
		s.srv.counters.requests[s.req.Command].Add(1)
		s.refuse(s, s.req.Command, nil, err)
		if !stays {
			s.phase = ending
		}
		return goOn
	}
	if s.claim.made {
		if s.claim.waits {
			return pause
		}
		s.claim = claim{}
	}
	if perr == protocol.ErrInvalidProtocol {
		s.hint = protocol.Hint(line)
	}
	s.take(len(line) + end)
	s.taken = true
	o := s.dispatch(&s.req, perr, s)
	if s.req.Command == protocol.Auth {
		clear(line) // nobody has use for the token any more
	}
	return s.after(o)
}

// after says what follows a request that was dispatched.
func (s *session) after(o outcome) action {
	switch {
	case o == waits:
		s.phase = waiting
		return waitForLog
	case o == late:
		s.phase = delayed
		return holdBack
	case o == closes || o == doubted || s.expelled:
		s.phase = ending
	case s.view != nil:
		return sendView
	}
	return goOn
}

// settled returns do if nothing is pending.
func (s *session) settled(do action) action {
	if s.pending() {
		return commitAll
	}
	return do
}

// take drops the first n bytes.
func (s *session) take(n int) { s.p = s.p[n:] }

// batch deals with a BATCH whose line takes head bytes.
func (s *session) batch(head int, canonical bool, perr error) action {
	settings := s.srv.settings.Load()
	err, drop := s.refusal(settings, &s.req, perr)
	if err == nil {
		err, drop = s.admit(&s.req, int64(head)+s.req.Batch.Size, s.last.of(settings, s.req.Batch.Topic).WriteRate)
	}
	if err != nil {
		s.claim = claim{}
		s.srv.counters.requests[protocol.Batch].Add(1)
		s.fail(protocol.Batch, err)
		if !drop || s.expelled {
			s.phase = ending
			return goOn
		}
		s.take(head)
		s.phase, s.skip = dropping, s.req.Batch.Size // its time goes on until that is dropped
		return goOn
	}
	if s.claim.waits {
		return s.settled(pause)
	}
	total := head + int(s.req.Batch.Size)
	if len(s.p) < total {
		s.typed, s.broken = !canonical, batch.BareLF(s.p[head:])
		return s.settled(readMore)
	}
	s.srv.counters.requests[protocol.Batch].Add(1)
	s.taken = true
	if !s.add(&s.req, s.p[:total], head, canonical) {
		s.phase = ending
	}
	if s.claim.made {
		s.claim = claim{}
	}
	s.take(total)
	return goOn
}

// drop drops what is there of a batch that was refused.
func (s *session) drop() action {
	n := min(s.skip, int64(len(s.p)))
	s.take(int(n))
	if s.skip -= n; s.skip > 0 {
		return s.settled(readMore)
	}
	s.phase, s.taken = taking, true
	return goOn
}

// commit gives the answers to what is pending; it waits for the disk.
func (s *session) commit() {
	if err := s.caller.commit(s); err != nil {
		s.srv.log.Debug("connection is closed without an answer", "remote", s.from(), "err", err)
		s.phase, s.hint = ending, ""
	}
}

// stopWaiting answers a read that waits with what it has: nothing.
func (s *session) stopWaiting() {
	s.phase = taking
	s.giveUp(s)
}

// endWith ends the session with an error that is the answer to no request of
// its own. The hint is for a person.
func (s *session) endWith(err *protocol.Error, hint string) {
	s.srv.counters.requests[protocol.Unknown].Add(1)
	s.fail(protocol.Unknown, err)
	s.phase, s.hint = ending, hint
}

// refuseNext ends the session with the next request.
func (s *session) refuseNext() { s.refuses = true }

// partial reports whether rest, which step has left, or what it has taken, is of
// a request that has not arrived whole.
func (s *session) partial(rest []byte) bool { return len(rest) > 0 || s.phase == dropping }

// sent is called when out was sent.
func (s *session) sent() {
	if cap(s.out) > keepPending {
		s.out = nil
	} else {
		s.out = s.out[:0]
	}
}

// The session is its own Responder: answers are bytes of out.

func (s *session) OK() { s.out = protocol.AppendOK(s.out) }
func (s *session) Offset(offset, batches int64) {
	s.out = protocol.AppendOffset(s.out, offset, batches)
}
func (s *session) Body(body []byte)          { s.out = protocol.AppendBody(s.out, body) }
func (s *session) Error(err *protocol.Error) { s.out = protocol.AppendError(s.out, err) }
func (s *session) Batches(v topic.View) {
	s.view = v
	s.Offset(v.Offset(), v.Batches())
}

// errLine is a request line that is too long, or the beginning of a handshake of TLS.
var errLine = errors.New("server: no request line")

// firstLine returns the first line of p without its end, the length of the end,
// and whether it is there. If p begins no line, or too many bytes hold no line end, it
// returns errLine.
func firstLine(p []byte) (line []byte, end int, ok bool, err error) {
	const limit = protocol.MaxLine + len("\r\n")
	if len(p) > 0 && p[0] == handshakeRecord {
		return nil, 0, false, errLine // whoever wants TLS waits for an answer before it ends a line
	}
	i := bytes.IndexByte(p[:min(len(p), limit)], '\n')
	if i < 0 {
		if len(p) >= limit {
			return nil, 0, false, errLine
		}
		return nil, 0, false, nil
	}
	line, end = p[:i], 1
	if i > 0 && p[i-1] == '\r' {
		line, end = p[:i-1], 2
	}
	if len(line) > protocol.MaxLine {
		return nil, 0, false, errLine
	}
	return line, end, true, nil
}

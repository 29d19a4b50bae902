package link

import (
	"errors"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// AnswerKind is the form that a call's answer must have, unless it is an
// error.
type AnswerKind uint8

// The kinds of answers. That of an append is for [Link.AppendCall] and a [Pending].
const (
	AnswerOK      AnswerKind = iota // OK
	answerAppend                    // OK <offset> 1
	AnswerOffset                    // OK <offset> 0
	AnswerBody                      // MOK <size>, body
	AnswerBatches                   // OK <offset> <batches>, batches
	AnswerAny                       // OK, OK <offset> 0, or MOK: Form tells which
)

// Call is one request and its answer. Between conn.enqueue and the value that
// done gets, it belongs to the connection.
type Call struct {
	pool *callPool // nil in a Pending

	// done gets one value when the call is over, or before that when out is not used
	// any more and the caller wants to know. It holds one, so that giving it never
	// blocks.
	done chan struct{}

	request
	progress
	answer
}

// request is what a call asks for.
type request struct {
	kind AnswerKind
	out  []byte        // the request: of line, or the bytes of a batch
	line []byte        // memory for a request line, kept between uses
	wait time.Duration // how long the server may hold the answer back, by request

	// What an answer of batches must agree with.
	topic    string
	from     int64 // the offset asked for, or -1 for the oldest
	messages int64

	// MaxBody is how long the body of an answer may be.
	MaxBody int64

	config  bool // the request is CONFIG, whose answer the connection looks at
	asks    bool // and was sent for that alone
	repeats bool // it does no harm to send the request again, to this server or another one
	waited  bool // the caller does nothing but wait for the answer
	greeted bool // it has had the server be greeted: see greetAnew
}

// progress is how far a call has come. It is guarded by conn.mu until the call is
// over.
type progress struct {
	state    callState
	interest interest
	unsent   bool          // the server never got the whole request
	ended    chan struct{} // if not nil it is closed when the call is over
}

// answer is what came of a call. It is written by whoever has the role of the
// reader until the call is over.
type answer struct {
	// Offset is that of an append, or of AnswerOffset.
	Offset int64
	// Body is that of AnswerBody. It is good until Release.
	Body []byte
	// Form is that of the answer to a call with AnswerAny.
	Form protocol.ReplyKind
	// Addr is the address of the server whose answer it is, and Connection a number,
	// 1 or more, that tells its connection from all others of the process. Do sets
	// them.
	Addr       string
	Connection int64

	batches *Batches
	err     error  // why there is no answer of the right kind
	leader  string // as Failure.Leader
	refused bool   // the server certainly did not do what was asked for
	cut     bool   // batches ends before a batch that can't be taken
	torn    error  // the stream has ended in the answer: the *DamageError of where
}

// callPool keeps the calls of one Link. It is not everybody's because calls
// have channels, which may not be shared by a program under test in a
// testing/synctest bubble and what is outside of it.
type callPool struct{ pool sync.Pool }

func (p *callPool) get(kind AnswerKind) *Call {
	cl, _ := p.pool.Get().(*Call)
	if cl == nil {
		cl = &Call{done: make(chan struct{}, 1), pool: p}
	}
	cl.reset(kind)
	return cl
}

// Call returns a call for the request, which is not a BATCH. What the answer must
// be is its kind; for AnswerBatches see ReadCall.
func (l *Link) Call(kind AnswerKind, req *protocol.Request) *Call {
	cl := l.calls.get(kind)
	cl.line = protocol.AppendRequest(cl.line[:0], req)
	cl.sends(req.Command)
	cl.repeats = cl.repeats || req.Command == protocol.Position && req.Position == nil
	return cl
}

// sends notes that the call's line is the request, of that command.
func (cl *Call) sends(c protocol.Command) {
	cl.out = cl.line
	cl.config = c == protocol.Config
	switch c {
	case protocol.Read, protocol.Tail, protocol.Config, protocol.Stats, protocol.Ping, protocol.Topics, protocol.Info,
		protocol.Seek, protocol.Times, protocol.Hooks, protocol.Retention, protocol.Help, protocol.Cluster, protocol.Groups,
		protocol.Positions:
		cl.repeats = true
	}
}

// ReadCall returns a call for the request, which is a READ or TAIL of the topic.
func (l *Link) ReadCall(topic string, req *protocol.Request) *Call {
	cl := l.Call(AnswerBatches, req)
	cl.topic, cl.from, cl.messages, cl.wait = topic, req.Offset, req.Messages, req.Wait
	if req.Command == protocol.Tail {
		cl.from = -1
	}
	cl.batches = batchesPool.Get().(*Batches)
	return cl
}

// AppendCall returns a call that appends the finished batch, whose bytes are the
// Link's until the call is over.
func (l *Link) AppendCall(out []byte) *Call {
	cl := l.calls.get(answerAppend)
	cl.out = out
	return cl
}

// reset prepares for another use. It keeps the memory.
func (cl *Call) reset(kind AnswerKind) {
	cl.request = request{kind: kind, line: cl.line}
	cl.progress = progress{}
	cl.answer = answer{Body: cl.Body[:0]}
}

// again prepares a call that is over, without an answer, to be sent once more.
func (cl *Call) again() {
	if cl.batches != nil {
		cl.batches.clear()
	}
	cl.progress = progress{}
	cl.answer = answer{Body: cl.Body[:0], batches: cl.batches}
}

// TakeBatches returns the answer to a ReadCall that is over. It is the caller's
// from then on, and survives Release.
func (cl *Call) TakeBatches() *Batches {
	b := cl.batches
	b.Connection = cl.Connection
	cl.batches = nil
	return b
}

// TakeBody returns the body of a call that is over. It is the caller's from then on,
// and survives Release.
func (cl *Call) TakeBody() []byte {
	body := cl.Body
	cl.Body = nil
	return body
}

// Release gives a call that is over back, to be used again. One of a Pending is
// left to the garbage collector.
func (cl *Call) Release() {
	if cl.pool == nil {
		return
	}
	cl.batches.Release()
	cl.batches = nil
	cl.out = nil
	if cap(cl.Body) > maxKept {
		cl.Body = nil
	}
	cl.pool.pool.Put(cl)
}

// outcome returns what the call's failure means for the batch it appends.
func (cl *Call) outcome() Outcome { return outcomeFor(cl.kind, cl.refused || cl.unsent) }

// failure returns why the call, which went to the server at addr, has failed.
func (cl *Call) failure(addr string) *Failure {
	return &Failure{
		Addr: addr, Err: cl.err, Outcome: cl.outcome(), Undone: cl.refused || cl.unsent,
		Answered: cl.refused && !errors.Is(cl.err, ErrConnectionLost), Leader: cl.leader,
	}
}

package logd

import (
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// answerKind is the form that a call's answer must have, unless it is an
// error.
type answerKind uint8

const (
	answerOK      answerKind = iota // OK
	answerAppend                    // OK <offset> 1
	answerOffset                    // OK <offset> 0
	answerBody                      // MOK <size>, body
	answerBatches                   // OK <offset> <batches>, batches
)

// call is one request and its answer. Between conn.enqueue and the value that
// done gets, it belongs to the connection.
type call struct {
	pool *callPool // nil in a Pending
	kind answerKind
	out  []byte        // the request: of line, or the bytes of a Batch
	line []byte        // memory for a request line, kept between uses
	wait time.Duration // how long the server may hold the answer back, by request

	// What an answer of batches must agree with.
	topic    string
	from     int64 // the offset asked for, or -1 for the oldest
	messages int64

	maxBody int64 // how long a body may be
	config  bool  // the request is CONFIG, whose answer the connection looks at
	asks    bool  // and was sent for that alone
	repeats bool  // it does no harm to send the request again

	// done gets one value when the call is over. It holds one, so that giving
	// it never blocks.
	done chan signal

	// Guarded by conn.mu until the call is over.
	state    callState
	answered bool // the answer is here, or there will be none
	given    bool // the caller went away: nobody takes from done
	notify   bool // the caller wants to know when out is not used any more
	notified bool // and was told; it looks at answered next, and takes or gives the call
	unsent   bool // the server never got the whole request
	waited   bool // the caller does nothing but wait for the answer

	// The answer. The connection's reader writes it until the call is over.
	offset  int64
	body    []byte
	result  *Result
	err     error  // why there is no answer of the right kind
	refused bool   // the server certainly did not do what was asked for
	cut     bool   // result ends before a batch that can't be taken
	torn    error  // the stream has ended in the answer: the *damageError of where
	addr    string // whose answer it is; set by Client.do
}

// callState is how far a call has come.
type callState uint8

const (
	queued  callState = iota // out is not yet being written
	writing                  // the connection's writer uses out
	sent                     // out is written, or never will be
)

// signal is what a call's done channel gets.
type signal uint8

const (
	over    signal = iota // the call belongs to its caller again
	written               // out is written; the call stays with the connection
	cut                   // out is not used any more, and was not all written; the call stays
)

// callPool keeps the calls of one Client. It is not everybody's because calls
// have channels, which may not be shared by a program under test in a
// testing/synctest bubble and what is outside of it.
type callPool struct{ pool sync.Pool }

func (p *callPool) get(kind answerKind) *call {
	cl, _ := p.pool.Get().(*call)
	if cl == nil {
		cl = &call{done: make(chan signal, 1), pool: p}
	}
	cl.reset(kind)
	return cl
}

// request returns a call for the request, which is not a BATCH.
func (p *callPool) request(kind answerKind, req *protocol.Request) *call {
	cl := p.get(kind)
	cl.line = protocol.AppendRequest(cl.line[:0], req)
	cl.out = cl.line
	cl.config = req.Command == protocol.Config
	switch req.Command {
	case protocol.Read, protocol.Tail, protocol.Config, protocol.Stats, protocol.Ping, protocol.Topics, protocol.Info,
		protocol.Seek, protocol.Times, protocol.Hooks, protocol.Retention:
		cl.repeats = true
	}
	return cl
}

// append returns a call that appends the finished batch.
func (p *callPool) append(out []byte) *call {
	cl := p.get(answerAppend)
	cl.out = out
	return cl
}

// reset prepares for another use. It keeps the memory.
func (cl *call) reset(kind answerKind) {
	*cl = call{kind: kind, line: cl.line, body: cl.body[:0], done: cl.done, pool: cl.pool}
}

// again prepares a call that is over, without an answer, to be sent once more.
func (cl *call) again() {
	next := call{
		pool: cl.pool, kind: cl.kind, out: cl.out, line: cl.line, wait: cl.wait, topic: cl.topic, from: cl.from, messages: cl.messages,
		maxBody: cl.maxBody, config: cl.config, repeats: cl.repeats, done: cl.done, body: cl.body[:0],
	}
	if cl.result != nil {
		next.result = cl.result
		next.result.clear()
	}
	*cl = next
}

// release gives the call back to its pool. One of a Pending, which has none,
// is left to the garbage collector.
func (cl *call) release() {
	if cl.pool == nil {
		return
	}
	cl.result.Release()
	cl.result = nil
	cl.out = nil
	if cap(cl.body) > maxKept {
		cl.body = nil
	}
	cl.pool.pool.Put(cl)
}

// failure returns what the call's failure means for the batch it appends.
func (cl *call) failure() outcome { return outcomeFor(cl.kind, cl.refused || cl.unsent) }

// outcomeFor returns the outcome of a failed call of the kind, which the
// server certainly did not carry out or perhaps did.
func outcomeFor(kind answerKind, certain bool) outcome {
	switch {
	case kind != answerAppend:
		return notAppend
	case certain:
		return notStored
	default:
		return unknown
	}
}

// queue is a first-in, first-out queue that keeps its memory.
type queue[T any] struct {
	items []*T
	first int
}

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) push(item *T) {
	// Moving the items down costs as much as popping the first half did.
	if len(q.items) == cap(q.items) && q.first > len(q.items)/2 {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, item)
}

// peek returns the first item, nil if there is none.
func (q *queue[T]) peek() *T {
	if q.len() == 0 {
		return nil
	}
	return q.items[q.first]
}

func (q *queue[T]) pop() *T {
	item := q.items[q.first]
	q.items[q.first] = nil
	q.first++
	if q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
	}
	return item
}

// remove takes the item out, wherever it stands, and reports whether it did.
func (q *queue[T]) remove(item *T) bool {
	for i := q.first; i < len(q.items); i++ {
		if q.items[i] == item {
			copy(q.items[i:], q.items[i+1:])
			q.items[len(q.items)-1] = nil
			q.items = q.items[:len(q.items)-1]
			return true
		}
	}
	return false
}

package script

import (
	"fmt"
	"strings"
	"sync"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/protocol"
)

// Log takes batches as a server does, for tests of what becomes of them: it keeps
// the messages for the test to look at, and lets the test answer in its place. It
// cannot be read from.
//
//	stored := &script.Log{OnBatch: func(p *script.Peer, messages []string) string {
//		if messages[0] == "bad" {
//			return "ERR read only\r\n"
//		}
//		return ""
//	}}
//	script.Serve(t, network, "log:1774", stored.Serve)
//
// The zero value is an empty log. Its fields are set before its use. All methods
// are safe for concurrent use.
type Log struct {
	// MaxBatchSize is the limit that CONFIG tells. It is not kept to. Default: that
	// of a server.
	MaxBatchSize int64
	// Producers is what CONFIG tells of how far back numbered batches are known. If it
	// is not 0, the Log stores each once, as a server does. Default: 0, and they are
	// refused.
	Producers int64
	// TopicLimit, if it is not 0, is what INFO tells of how large a batch each topic
	// takes, and CONFIG that there may be such limits. A batch that is larger is refused, as
	// one over MaxBatchSize is not. If Untold is set, INFO is refused.
	TopicLimit int64
	Untold     bool
	// OnBatch, if set, is called with each batch before it is stored. An answer
	// other than "" is given in place of storing it. It may close the connection.
	OnBatch func(p *Peer, messages []string) (answer string)
	// OnStored, if set, is called with each batch that was stored, and returns what
	// to send: if that is not the answer, the connection ends behind it.
	OnStored func(p *Peer, messages []string, answer string) string
	// OnOther, if set, returns the answer to a request that is neither BATCH nor
	// CONFIG. Default: the test fails.
	OnOther func(r Request) (answer string)

	mu       sync.Mutex
	next     map[string]int64            // offset, by topic
	numbers  map[string]*producers.Table // by topic
	messages []string
	batches  []int
	ids      []string
	large    int
}

// Serve is a function for [Serve].
func (l *Log) Serve(p *Peer) {
	for {
		r, ok := p.Request()
		if !ok {
			return
		}
		switch {
		case r.IsBatch():
			ok = l.batch(p, r)
		case r.Line == "CONFIG":
			ok = p.Answer("%s", config(p.LocalAddr().String(), l.limit(), l.Producers, l.topicLimit() != 0))
		case l.topicLimit() != 0 && strings.HasPrefix(r.Line, "INFO "):
			ok = p.Answer("%s", l.info())
		case l.OnOther != nil:
			ok = p.Answer("%s", l.OnOther(r))
		default:
			p.t.Errorf("script: the client sent %q to a Log", r.Line)
		}
		if !ok {
			return
		}
	}
}

func (l *Log) batch(p *Peer, r Request) bool {
	messages := r.Messages()
	if l.OnBatch != nil {
		if answer := l.OnBatch(p, messages); answer != "" {
			return p.Answer("%s", answer)
		}
	}
	if l.refuses(r.Len()) {
		return p.Answer("ERR too large\r\n")
	}
	offset, other := l.store(r, messages)
	if other != "" {
		return p.Answer("%s", other)
	}
	answer := fmt.Sprintf("OK %d 1\r\n", offset)
	send := answer
	if l.OnStored != nil {
		send = l.OnStored(p, messages, answer)
	}
	return p.Answer("%s", send) && send == answer
}

// store stores a batch, or returns the answer to one that is not stored.
func (l *Log) store(r Request, messages []string) (offset int64, other string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = make(map[string]int64)
		l.numbers = make(map[string]*producers.Table)
	}
	offset = l.next[r.Topic()]
	if other = l.ask(&r, offset); other != "" {
		return 0, other
	}
	l.next[r.Topic()] += r.Len()
	l.messages = append(l.messages, messages...)
	l.batches = append(l.batches, len(messages))
	for _, d := range r.deltas() {
		l.ids = append(l.ids, fmt.Sprintf("%d.%d", offset, d))
	}
	return offset, ""
}

// ask returns the answer to a numbered batch that is not the next one of its
// producer. Caller holds mu.
func (l *Log) ask(r *Request, offset int64) (answer string) {
	h := &r.req.Batch
	if h.Seq > 0 && l.Producers == 0 {
		return string(protocol.AppendError(nil, protocol.ErrInvalidRequest))
	}
	if l.Producers == 0 {
		return ""
	}
	table := l.numbers[r.Topic()]
	if table == nil {
		table = producers.New(l.Producers)
		l.numbers[r.Topic()] = table
	}
	b := producers.Batch{PID: h.PID, Seq: h.Seq, Offset: offset, Len: r.Len(), CRC: h.CRC}
	if h.Seq > 0 {
		switch a := table.Ask(&b); a.Verdict {
		case producers.Duplicate:
			return string(protocol.AppendOffset(nil, a.Offset, 1))
		case producers.Conflict:
			return string(protocol.AppendError(nil, protocol.ErrSequenceConflict))
		case producers.OutOfOrder:
			return string(protocol.AppendError(nil, protocol.OutOfOrder(a.Seq)))
		}
	}
	table.Add(&b)
	return ""
}

func (l *Log) limit() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.MaxBatchSize == 0 {
		return protocol.DefaultMaxBatchSize
	}
	return l.MaxBatchSize
}

// SetMaxBatchSize changes the limit while the Log is in use.
func (l *Log) SetMaxBatchSize(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.MaxBatchSize = n
}

func (l *Log) topicLimit() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.TopicLimit
}

// refuses reports whether a batch of so many bytes is too large for its topic.
func (l *Log) refuses(n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.TopicLimit == 0 || n <= l.TopicLimit {
		return false
	}
	l.large++
	return true
}

// Large returns how many batches were too large for their topic.
func (l *Log) Large() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.large
}

// SetTopicLimit changes the limit while the Log is in use.
func (l *Log) SetTopicLimit(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.TopicLimit = n
}

// info returns the answer to INFO. It tells of nothing but the limit.
func (l *Log) info() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Untold {
		return string(protocol.AppendError(nil, protocol.ErrUnauthorized))
	}
	body := fmt.Appendf(nil, "Oldest: 0\r\nNext: 0\r\nPartitions: 1\r\nBytes: 0\r\nMessages: 0\r\nBatches: 0\r\nMaxBatchSize: %d\r\n", l.TopicLimit)
	return string(protocol.AppendBody(nil, body))
}

// Next returns the offset of the topic's next batch.
func (l *Log) Next(topic string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next[topic]
}

// Messages returns what was stored, in order.
func (l *Log) Messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.messages...)
}

// String returns the messages, joined by spaces.
func (l *Log) String() string { return strings.Join(l.Messages(), " ") }

// IDs returns the names of the messages, "OFFSET.DELTA", in order.
func (l *Log) IDs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.ids...)
}

// Batches returns how many messages each batch has that was stored, in order.
func (l *Log) Batches() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int(nil), l.batches...)
}

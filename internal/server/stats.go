package server

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/socket"
	"github.com/logd-dev/logd/internal/topic"
)

// counters are kept with atomics on the way of a request; STATS and metrics
// read them.
type counters struct {
	active, total     atomic.Int64 // connections
	refused, panics   atomic.Int64
	bytesIn           atomic.Int64
	out               socket.Counters
	batches, messages atomic.Int64 // appended
	waiting           atomic.Int64 // readers at the end of a log
	httpWaiting       atomic.Int64 // those of them over HTTP
	throttled         [numQuotas]atomic.Int64
	requests, errors  [protocol.NumCommands]atomic.Int64

	// reasons are the error answers by command and reason: 1 + the reason's place
	// in protocol.Errors.
	reasons [protocol.NumCommands][maxReasons]atomic.Int64
}

// maxReasons bounds the reasons that are told apart; 0 is any other.
const maxReasons = 32

var reasonPlace = func() map[*protocol.Error]int {
	m := make(map[*protocol.Error]int)
	for i, e := range protocol.Errors {
		m[e] = i + 1
	}
	return m
}()

// failed counts an error answer.
func (c *counters) failed(cmd protocol.Command, err *protocol.Error) {
	c.errors[cmd].Add(1)
	// One that says more counts as all others of its kind.
	if e, ok := protocol.ErrorFor(err.Reason); ok {
		err = e
	} else if strings.HasPrefix(err.Reason, protocol.ErrNotLeader.Reason) {
		err = protocol.ErrNotLeader
	}
	c.reasons[cmd][reasonPlace[err]].Add(1)
}

// ErrorCount is how often a command was answered with an error for a reason.
type ErrorCount struct {
	Command protocol.Command
	Reason  string
	Count   int64
}

// ErrorCounts returns the error answers by command and reason, without those
// that there were none of.
func (s *Server) ErrorCounts() []ErrorCount {
	var list []ErrorCount
	for cmd := range s.counters.reasons {
		for i := range s.counters.reasons[cmd] {
			n := s.counters.reasons[cmd][i].Load()
			if n == 0 {
				continue
			}
			reason := "other"
			if i > 0 {
				reason = protocol.Errors[i-1].Reason
			}
			list = append(list, ErrorCount{protocol.Command(cmd), reason, n})
		}
	}
	return list
}

// Stats is the server's counters at a moment.
type Stats struct {
	Connections, ConnectionsTotal int64
	ConnectionsRefused, Panics    int64
	BytesIn, BytesOut             int64
	Batches, Messages             int64 // appended and acknowledged
	Sendfiles                     int64 // calls of sendfile(2) that sent something
	WaitingReads                  int64
	Unauthenticated               int64                       // connections that have to show who they are
	Throttled                     map[string]int64            // what quotas made wait or refused, by topic, write, read and connections
	Requests, Errors              [protocol.NumCommands]int64 // by command
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{
		Connections: c.active.Load(), ConnectionsTotal: c.total.Load(),
		ConnectionsRefused: c.refused.Load(), Panics: c.panics.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.out.Bytes.Load(),
		Batches: c.batches.Load(), Messages: c.messages.Load(),
		Sendfiles: c.out.Sendfiles.Load(), WaitingReads: c.waiting.Load(),
		Unauthenticated: s.strangers.count.Load(), Throttled: make(map[string]int64),
	}
	for k := range numQuotas {
		st.Throttled[k.String()] = c.throttled[k].Load()
	}
	for i := range c.requests {
		st.Requests[i] = c.requests[i].Load()
		st.Errors[i] = c.errors[i].Load()
	}
	return st
}

// statsFields returns the body of STATS, sorted.
func (s *Server) statsFields(counts topic.Counts) []protocol.Field {
	st := s.Stats()
	values := map[string]int64{
		"conns.active": st.Connections, "conns.total": st.ConnectionsTotal,
		"conns.refused": st.ConnectionsRefused, "conns.panics": st.Panics,
		"bytes.in": st.BytesIn, "bytes.out": st.BytesOut,
		"batches.total": st.Batches, "messages.total": st.Messages,
		"reads.missed": counts.Misses, "reads.waiting": st.WaitingReads,
		"topics.total": counts.Topics, "topics.disallowed": counts.Disallowed,
	}
	var requests, errors int64
	for i := range st.Requests {
		requests += st.Requests[i]
		errors += st.Errors[i]
		name := strings.ToLower(protocol.Command(i).String())
		values["requests."+name] = st.Requests[i]
		values["errors."+name] = st.Errors[i]
	}
	values["requests.total"], values["errors.total"] = requests, errors
	fields := make([]protocol.Field, 0, len(values))
	for name, n := range values {
		fields = append(fields, protocol.Field{Name: name, Value: strconv.FormatInt(n, 10)})
	}
	slices.SortFunc(fields, func(a, b protocol.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields
}

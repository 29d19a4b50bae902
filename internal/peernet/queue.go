package peernet

import (
	"slices"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/peer"
)

// letter is a message to be sent.
type letter struct {
	group     uint16
	m         *pb.Message
	suggested []byte // an entry, where there is no message
}

// size is about how much memory it has, but for a table.
func (l *letter) size() int {
	n := len(l.m.GetContext()) + len(l.suggested)
	for _, e := range l.m.GetEntries() {
		n += len(e.GetData())
	}
	return n
}

// queue is what is to be sent on a connection, in order. It takes nothing while there
// is none.
type queue struct {
	ready chan struct{} // has room for one: there may be something

	mu      sync.Mutex
	open    bool
	letters []letter
	bytes   int
	tables  []uint16 // groups of which a table waits, or is being sent

	beat       *peer.Beat // to be sent, or nil
	heartbeats []letter   // to be sent with the next beat, one of each group
}

func newQueue() queue { return queue{ready: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// put adds a message, and reports whether there was room for it. Of each group there
// may be one table, of any size.
func (q *queue) put(l letter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := l.size()
	table := l.m.GetType() == pb.MsgSnap
	if !q.open || len(q.letters) == maxLetters || q.bytes+n > maxLetterBytes || table && slices.Contains(q.tables, l.group) {
		return false
	}
	if table {
		q.tables = append(q.tables, l.group)
	}
	q.letters = append(q.letters, l)
	q.bytes += n
	q.signal()
	return true
}

// putHeartbeat keeps a heartbeat for the next beat, in place of the one of its group
// that waits already.
func (q *queue) putHeartbeat(l letter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return
	}
	if i := slices.IndexFunc(q.heartbeats, func(h letter) bool { return h.group == l.group }); i >= 0 {
		q.heartbeats[i] = l
		return
	}
	q.heartbeats = append(q.heartbeats, l)
}

// putBeat adds a beat, in place of the one that waits already.
func (q *queue) putBeat(b *peer.Beat) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open {
		q.beat = b
		q.signal()
	}
}

// take returns the next message.
func (q *queue) take() (l letter, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.letters) == 0 {
		return l, false
	}
	l = q.letters[0]
	q.letters[0] = letter{}
	if q.letters = q.letters[1:]; len(q.letters) == 0 {
		q.letters = nil
	}
	q.bytes -= l.size()
	return l, true
}

// takeBeat returns the beat that is due, with the heartbeats.
func (q *queue) takeBeat() (b *peer.Beat, heartbeats []letter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.beat == nil {
		return nil, nil
	}
	b, heartbeats = q.beat, q.heartbeats
	q.beat, q.heartbeats = nil, nil
	return b, heartbeats
}

// sent notes that a message that was taken is not on its way any more.
func (q *queue) sent(l letter) {
	if l.m.GetType() != pb.MsgSnap {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tables = slices.DeleteFunc(q.tables, func(group uint16) bool { return group == l.group })
}

func (q *queue) sending(group uint16) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Contains(q.tables, group)
}

func (q *queue) isOpen() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}

// setOpen says whether there is a connection. What waits when it ends is lost.
func (q *queue) setOpen(open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open, q.letters, q.bytes, q.tables = open, nil, 0, nil
	q.beat, q.heartbeats = nil, nil
}

// appendBeat puts heartbeats into a beat, and appends its message.
func appendBeat(dst []byte, b *peer.Beat, heartbeats []letter) ([]byte, error) {
	whole := *b
	whole.Groups = slices.Clone(b.Groups)
	for _, h := range heartbeats {
		m, err := proto.Marshal(h.m)
		if err != nil {
			return dst, err
		}
		i, there := slices.BinarySearchFunc(whole.Groups, h.group, func(g peer.GroupBeat, group uint16) int { return int(g.Group) - int(group) })
		if !there {
			whole.Groups = slices.Insert(whole.Groups, i, peer.GroupBeat{Group: h.group})
		}
		whole.Groups[i].Message = m
	}
	return whole.Append(dst), nil
}

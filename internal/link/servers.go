package link

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// Servers is what the Links of one client know of their servers. It learns from
// every answer to CONFIG whether they are a cluster, and from CLUSTER of its members.
// Of a server in no cluster there is nothing to learn: Options.Addrs are all there is.
//
// All methods are safe for concurrent use. Its lock is the last one: whoever holds it
// takes no other.
type Servers struct {
	addrs    atomic.Pointer[[]string] // the named ones, then the other members; never changed in place
	known    atomic.Bool              // a server has said whether there is a cluster
	cluster  atomic.Bool              // there is one
	stale    atomic.Bool              // it is to be asked who its members are
	asked    atomic.Int64             // when its members were told, in ns since 1970
	patience atomic.Int64             // a time.Duration: see Patience; 0 if it is not known

	mu         sync.Mutex
	named      []string             // Options.Addrs
	plainSince map[string]time.Time // when they have closed the connection on HELLO
	failed     map[string]time.Time // of those that could not be reached or fell silent: when, the last time
}

// maxMembers bounds how many members of a cluster are believed in.
const maxMembers = 64

func newServers(named []string) *Servers {
	s := &Servers{named: named, failed: make(map[string]time.Time)}
	s.addrs.Store(&named)
	return s
}

// all returns the addresses, which must not be changed.
func (s *Servers) all() []string { return *s.addrs.Load() }

// Len returns how many servers are known.
func (s *Servers) Len() int { return len(s.all()) }

// several reports whether another server can be asked if one can't answer.
func (s *Servers) several() bool { return len(s.all()) > 1 || s.cluster.Load() }

// Known reports whether a server has said if it is in a cluster, and Cluster if it is.
func (s *Servers) Known() bool { return s.known.Load() }

// Cluster reports whether the servers are a cluster, as far as is known.
func (s *Servers) Cluster() bool { return s.cluster.Load() }

// Patience returns how long a leader may be silent before it is taken for cut off,
// and 0 if there is no cluster that says so.
func (s *Servers) Patience() time.Duration { return time.Duration(s.patience.Load()) }

// learn takes what a server says of its settings.
func (s *Servers) learn(settings *protocol.Settings) {
	s.known.Store(true)
	if settings.Cluster == "" {
		if s.cluster.Swap(false) {
			s.setMembers(nil)
		}
		s.patience.Store(0)
		return
	}
	s.patience.Store(int64(settings.ElectionTimeout + settings.ElectionTimeout/2))
	s.suspect()
}

// Learn takes what a server says that it is to a topic, if it does.
func (s *Servers) Learn(role protocol.Role) {
	switch role {
	case "":
	case protocol.Single:
		s.known.Store(true)
	default:
		s.suspect()
	}
}

// suspect notes that there is a cluster; if that is new, its members are not known.
func (s *Servers) suspect() {
	s.known.Store(true)
	if !s.cluster.Swap(true) {
		s.stale.Store(true)
	}
}

// lost notes that a server can't be reached, or has fallen silent.
func (s *Servers) lost(addr string) {
	if !s.several() {
		return
	}
	s.stale.Store(s.Cluster())
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) > maxMembers {
		clear(s.failed)
	}
	s.failed[addr] = time.Now()
}

// answered notes that a server answers.
func (s *Servers) answered(addr string) {
	if !s.several() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failed, addr)
}

// membersAge is after how many times Patience the members are asked for again: to replace one
// takes longer than a few elections. Who keeps one connection would else not know those that
// came in the place of all others, and have nobody to ask when it is lost.
const membersAge = 4

// old reports whether the members are to be asked for, also since they are those of a while ago.
func (s *Servers) old() bool {
	if s.Cluster() && !s.stale.Load() && time.Since(time.Unix(0, s.asked.Load())) > max(membersAge*s.Patience(), time.Second) {
		s.stale.Store(true)
	}
	return s.stale.Load()
}

// setMembers takes the addresses of all members.
func (s *Servers) setMembers(members []string) {
	s.asked.Store(time.Now().UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.named)
	for _, addr := range members {
		if len(all) < len(s.named)+maxMembers && !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	s.addrs.Store(&all)
}

// failedRest is for how long a server that has failed is asked after all others.
const failedRest = 5 * time.Second

// after returns the address that follows another one. Those that have failed a short
// time ago are passed over, unless there are only such.
func (s *Servers) after(addr string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all()
	at := slices.Index(all, addr) // of one that is not a member any more, the first follows
	for i := range all {
		next := all[(at+1+i)%len(all)]
		if !s.rests(next) {
			return next
		}
	}
	return all[(at+1)%len(all)]
}

// order returns the addresses in the order in which they are to be tried: from the
// first on, and those that have failed a short time ago last.
func (s *Servers) order(all []string, first int) []string {
	ordered := slices.Concat(all[first%len(all):], all[:first%len(all)])
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) > 0 {
		slices.SortStableFunc(ordered, func(a, b string) int { return compare(s.rests(a), s.rests(b)) })
	}
	return ordered
}

// rests reports whether the server has failed a short time ago. Caller holds mu.
func (s *Servers) rests(addr string) bool {
	failed, ok := s.failed[addr]
	return ok && time.Since(failed) < failedRest
}

// compare orders false before true.
func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

package api

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/problem"
)

// TestToLeader: a client is sent to the leader only if it has to do all of its request
// there, can follow, and it is known where that is.
func TestToLeader(t *testing.T) {
	urls := map[string]string{"a:1774": "https://a.example:1775"}
	for _, c := range []struct {
		name             string
		err              error
		stored           bool
		headers          []string
		status           int
		location, leader any
	}{
		{"redirected", protocol.NotLeader("a:1774"), false, nil, 307, "https://a.example:1775/api/v1/topics/t/messages?from=a%2Fb&ids=1", "https://a.example:1775"},
		{"a member that says no URL", protocol.NotLeader("b:1774"), false, nil, 421, "", nil},
		{"nobody leads", protocol.NotLeader(""), false, nil, 503, "", nil},
		{"some of it is stored", protocol.NotLeader("a:1774"), true, nil, 421, "", "https://a.example:1775"},
		{"a page", protocol.NotLeader("a:1774"), false, []string{"Sec-Fetch-Mode", "cors"}, 421, "", "https://a.example:1775"},
		{"something else", protocol.ErrReadOnly, false, nil, 503, "", nil},
		{"a fault", errors.New("not leader a:1774"), false, nil, 500, "", nil},
	} {
		w := httptest.NewRecorder()
		r := &request{
			Request: httptest.NewRequest("POST", "http://b.example/api/v1/topics/t/messages?from=a%2Fb&ids=1", nil), w: w,
			api: New(Options{LeaderHTTP: func(addr string) string { return urls[addr] }}),
		}
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		p := problem.From(c.err)
		if c.stored {
			p.With("stored", &Written{Batches: 1})
		}
		sent := r.toLeader(p)
		if again := r.toLeader(p); sent != (c.status == 307) || again && !sent {
			t.Errorf("%s: sent there %v, and then %v", c.name, sent, again)
		}
		p.Write(w, r.Request)
		if got := w.Header().Get("Location"); w.Code != c.status || got != c.location {
			t.Errorf("%s: %d to %q, want %d to %q", c.name, w.Code, got, c.status, c.location)
		}
		at, _ := p.Member("leader_http").(*string)
		if (at == nil) != (c.leader == nil) || at != nil && *at != c.leader {
			t.Errorf("%s: leader_http is %v, want %v", c.name, at, c.leader)
		}
	}
}

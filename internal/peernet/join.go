package peernet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/peer"
)

// joinTimeout is how long one member has to answer a JOIN: it may have to wait for the
// change of members before.
const joinTimeout = 10 * time.Second

// Join asks for admission to a cluster, until it is admitted or ctx is done: at one of
// the addresses after the other, and where they say that who leads is. told is called
// with each answer that was no good. A refusal that another try does not mend is
// returned. It connects by dial, or if that is nil as a net.Dialer does.
func Join(ctx context.Context, dial Dial, addrs []string, j *peer.Join, told func(addr string, err error)) (*peer.Welcome, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var p pause
	hint := ""
	for i := 0; ctx.Err() == nil; i++ {
		addr := addrs[i%len(addrs)]
		if hint != "" {
			addr, hint = hint, ""
			i--
		}
		w, err := joinAt(ctx, dial, addr, j)
		if err == nil {
			return w, nil
		}
		told(addr, err)
		if refused, ok := errors.AsType[*peer.Refused](err); ok {
			leader, notLeader := strings.CutPrefix(refused.Reason, peer.NotLeader)
			switch {
			case notLeader && strings.TrimSpace(leader) != addr:
				hint = strings.TrimSpace(leader)
			case refused.Reason == peer.WrongCluster:
				return nil, err
			case refused.Reason == clientPort:
				return nil, fmt.Errorf("%s is where clients are served, and the peer address of a member is wanted: %w", addr, err)
			}
		}
		timer := time.NewTimer(p.next()/2 + rand.N(10*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil, ctx.Err()
}

// clientPort is what a listener for clients says of what it does not understand.
const clientPort = "invalid protocol"

func joinAt(ctx context.Context, dial Dial, addr string, j *peer.Join) (*peer.Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if _, err := nc.Write(peer.AppendRequest(nil, j)); err != nil {
		return nil, err
	}
	w, err := peer.NewReader(nc).Welcome()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return w, err
}

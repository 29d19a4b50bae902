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

// askTimeout is how long one member has to answer a JOIN or REPLACE: it may have to wait for the
// change of members before.
const askTimeout = 10 * time.Second

// Join asks for admission to a cluster, until it is admitted or ctx is done: at one of
// the addresses after the other, and where they say that who leads is. told is called
// with each answer that was no good. A refusal that another try does not mend is
// returned. It connects by dial, or if that is nil as a net.Dialer does.
func Join(ctx context.Context, dial Dial, addrs []string, j *peer.Join, told func(addr string, err error)) (*peer.Welcome, error) {
	var p pause
	hint := ""
	for i := 0; ctx.Err() == nil; i++ {
		addr := addrs[i%len(addrs)]
		if hint != "" {
			addr, hint = hint, ""
			i--
		}
		var w *peer.Welcome
		err := ask(ctx, dial, addr, j, func(r *peer.Reader) (err error) {
			w, err = r.Welcome()
			return err
		})
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

// Replace asks the member at an address, once, to have another one vote in the place of
// the member that it was. It connects as Join does.
func Replace(ctx context.Context, dial Dial, addr string, r *peer.Replace) error {
	return ask(ctx, dial, addr, r, (*peer.Reader).Accepted)
}

// ask sends a request to the member at an address, and has read take the answer.
func ask(ctx context.Context, dial Dial, addr string, r peer.Request, read func(*peer.Reader) error) error {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if _, err := nc.Write(peer.AppendRequest(nil, r)); err != nil {
		return err
	}
	err = read(peer.NewReader(nc))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// A server that gets a batch over its MaxBatchSize closes the connection, and
// with it fails the requests of everybody else on it. So the Link asks for the
// limit before it sends the first batch that could be over it, once for each
// connection, and refuses what is too large by itself.
//
// With several addresses it asks before the first batch of any length: a host
// that takes connections and closes them, a load balancer without a server, say,
// is found out before a batch is in doubt, and the next host is tried.

// smallestLimit is the least MaxBatchSize that a server can have. A batch that is
// no longer can be sent without asking.
const smallestLimit = 128

// maxConfig is how long the answer to CONFIG may be that tells the limit.
const maxConfig = 1 << 20

// unlimited is the limit of a server that does not tell of one.
const unlimited = -1

// errUnasked is why a batch can't be sent on a connection: it ended before the
// server's limit was known. Link.send tries another one, or says why it ended.
var errUnasked = errors.New("the connection ended before the server's limit was known")

// whyUnasked returns the error of a batch that was not sent because of
// errUnasked.
func (cn *conn) whyUnasked() error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.lost()
}

// admit returns nil if the call may be sent on the connection. It waits until the
// server's limit is known if the call depends on it.
func (l *Link) admit(ctx context.Context, cn *conn, cl *Call) error {
	n := int64(len(cl.out))
	if cl.kind != answerAppend || n <= smallestLimit && len(cn.opts.Addrs) == 1 {
		return nil
	}
	limit := cn.limit.Load()
	if limit == 0 {
		if !l.askLimit(cn) {
			return errUnasked
		}
		select {
		case <-cn.limited:
		case <-ctx.Done():
			return ctx.Err()
		}
		if limit = cn.limit.Load(); limit == 0 {
			return errUnasked
		}
	}
	if limit != unlimited && n > limit {
		return tooLarge(n, limit)
	}
	return nil
}

// admits is admit for a caller who can't wait: it reports false if the limit is
// not known.
func (cn *conn) admits(n int64) (known bool, err error) {
	if n <= smallestLimit && len(cn.opts.Addrs) == 1 {
		return true, nil
	}
	switch limit := cn.limit.Load(); {
	case limit == 0:
		return false, nil
	case limit != unlimited && n > limit:
		return true, tooLarge(n, limit)
	}
	return true, nil
}

func tooLarge(n, limit int64) error {
	return fmt.Errorf("%w: the batch has %d bytes, and this server takes batches of up to %d", protocol.ErrTooLarge, n, limit)
}

// stays reports whether the server goes on with the connection although it has refused
// the call: a batch was too large for its topic, not for the server, which may have
// stored what was sent behind it.
func (cn *conn) stays(cl *Call) bool {
	return cl.kind == answerAppend && cl.err == protocol.ErrTooLarge && int64(len(cl.out)) <= cn.limit.Load()
}

// askLimit sends CONFIG, unless somebody has done so on this connection to learn
// the limit. Nobody waits for the call: the answer tells the connection. It
// reports false if that can't be done on this connection.
func (l *Link) askLimit(cn *conn) bool {
	ask := l.Call(AnswerBody, &protocol.Request{Command: protocol.Config})
	ask.MaxBody = maxConfig
	ask.interest, ask.asks = orphaned, true
	sent := false
	ok := l.enqueue(cn, ask, func(cn *conn, ask *Call) bool {
		cn.mu.Lock()
		defer cn.mu.Unlock()
		if cn.limitAsked {
			return true
		}
		sent = cn.enqueueLocked(ask)
		cn.limitAsked = sent
		return sent
	})
	if !sent {
		ask.Release()
	}
	return ok
}

// learn takes the limit from the answer to CONFIG, and what there is about a cluster.
// A server that gives no limit is taken for one that has none.
func (cn *conn) learn(cl *Call) {
	limit := int64(unlimited)
	if cl.err == nil {
		if settings, err := protocol.ParseSettings(cl.Body); err == nil {
			cn.servers.learn(&settings)
		}
		for line := range bytes.Lines(cl.Body) {
			name, value, _ := bytes.Cut(line, []byte(":"))
			if string(name) != "MaxBatchSize" {
				continue
			}
			if n, ok := batch.ParseInt([]byte(strings.TrimSpace(string(value)))); ok && n > 0 {
				limit = n
			}
		}
	}
	cn.limit.Store(limit)
}

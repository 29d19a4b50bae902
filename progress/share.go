package progress

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/logd-dev/logd"
)

// shareHold is for how long at a time a share is held: so long a worker that has crashed
// leaves it to nobody.
const shareHold = 30 * time.Second

// Shared is one worker's share of a topic's messages, whose progress it also is.
type Shared struct {
	*Server
	Number int // of the share, from 0
	of     int
	key    func(logd.Message) []byte
}

// Share has several workers, on one machine or many, share the messages of a topic. Each
// reads all of them, and does those that are Mine; there are n shares, which are the consumers
// NAME.0 to NAME.<n-1>. Share waits until one of them is free, or ctx ends, and takes it: it is held
// as long as the worker goes on, and for half a minute after a crash.
//
// What is whose goes by the message's key: those with the same key are done in order, by one
// worker at a time. Default: the message's ID, which spreads them evenly. All workers must
// have the same n and key; to change n stop all, and begin with another name.
func Share(ctx context.Context, client *logd.Client, topic, name string, n int, key func(logd.Message) []byte) (*Shared, error) {
	if n < 1 || n > 10_000 {
		return nil, fmt.Errorf("progress.Share: n is %d: want 1 to 10000", n)
	}
	if key == nil {
		key = func(m logd.Message) []byte { return []byte(m.ID().String()) }
	}
	for {
		for i := range n {
			consumer := fmt.Sprintf("%s.%d", name, i)
			s, err := NewServer(client, topic, consumer, ServerConfig{Hold: shareHold})
			if err != nil {
				return nil, err
			}
			err = s.take(ctx)
			switch {
			case err == nil:
				return &Shared{Server: s, Number: i, of: n, key: key}, nil
			case !errors.Is(err, logd.ErrHeld) && !errors.Is(err, logd.ErrVersionConflict):
				return nil, err
			}
		}
		if err := wait(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// take holds the position, which is made at the oldest message if need be. The error is
// logd.ErrHeld if it is another's.
func (s *Server) take(ctx context.Context) error {
	_, err := s.client.HoldPosition(ctx, s.topic, s.consumer, s.cfg.As, s.cfg.Hold)
	if !errors.Is(err, logd.ErrNotFound) {
		return err
	}
	in, err := s.client.Info(ctx, s.topic)
	if err != nil {
		return err
	}
	_, err = s.client.SetPosition(ctx, s.topic, s.consumer, logd.PositionChange{
		At: logd.ID{Offset: in.Oldest}, TopicID: in.ID, As: s.cfg.As, Hold: s.cfg.Hold,
	})
	return err
}

// Mine reports whether the message is this worker's to do. Say Done of the others, too.
func (s *Shared) Mine(m logd.Message) bool {
	h := fnv.New64a()
	h.Write(s.key(m))
	return h.Sum64()%uint64(s.of) == uint64(s.Number)
}

package top

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

// sample is what a server says at a moment.
type sample struct {
	time    time.Time
	stats   map[string]int64
	topics  map[string]*admin.TopicInfo
	lags    map[string]int64 // bytes that the farthest consumer is behind; nil if there is none
	members []admin.Member   // nil if there is no cluster
}

// askAtOnce is how many topics are asked about at once.
const askAtOnce = 32

// refused is what a server does not answer. It is not asked again: that would be an error
// of the server's each time.
type refused struct{ cluster, positions bool }

// take asks the server. A topic that is gone meanwhile is left out.
func take(ctx context.Context, client *logd.Client, no *refused) (*sample, error) {
	c := admin.New(client)
	s := &sample{stats: map[string]int64{}, topics: map[string]*admin.TopicInfo{}}
	stats, err := c.Stats(ctx)
	if err != nil {
		return nil, err
	}
	s.time = time.Now()
	for _, f := range stats {
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil {
			s.stats[f.Name] = n
		}
	}
	names, err := client.Topics(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]*admin.TopicInfo, len(names))
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(askAtOnce)
	for i, name := range names {
		group.Go(func() (err error) {
			defer func() { // a terminal must not be left as it is
				if r := recover(); r != nil {
					err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
				}
			}()
			info, err := c.Info(asking, name)
			if errors.Is(err, logd.ErrNotFound) {
				return nil
			}
			infos[i] = &info
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, info := range infos {
		if info != nil {
			s.topics[names[i]] = info
		}
	}
	if !no.cluster {
		cluster, err := c.Cluster(ctx)
		if no.cluster = err != nil && unknown(err); err != nil && !no.cluster {
			return nil, err
		}
		s.members = cluster.Members
	}
	if no.positions {
		return s, nil
	}
	positions, err := client.Positions(ctx, "")
	no.positions = err != nil && unknown(err)
	switch {
	case err == nil && len(positions) > 0:
		s.lags = map[string]int64{}
		for _, p := range positions {
			s.lags[p.Topic] = max(s.lags[p.Topic], p.LagBytes)
		}
	case err != nil && !no.positions:
		return nil, err
	}
	return s, nil
}

// unknown reports whether the server does not know what was asked, or does not tell it to
// this visitor.
func unknown(err error) bool {
	return errors.Is(err, logd.ErrInvalidRequest) || errors.Is(err, logd.ErrInvalidProtocol) || errors.Is(err, logd.ErrUnauthorized)
}

// view is what is looked at, and how.
type view struct {
	host     string
	interval time.Duration
	order    string
	count    int // of topics; 0 for all
	skip     int // topics that stand above those that are shown

	no        refused
	last, now *sample
	away      error // why the server did not answer the last time
}

// ask takes a sample.
func (v *view) ask(ctx context.Context, client *logd.Client) error {
	s, err := take(ctx, client, &v.no)
	if v.away = err; err == nil {
		v.last, v.now = v.now, s
	}
	return err
}

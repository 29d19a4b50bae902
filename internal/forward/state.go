package forward

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/status"
)

const (
	// stands is for how long a loop may not come by before it counts as standing.
	stands = 30 * time.Second
	// awayFor is for how long the server may be away before the agent is not ready.
	awayFor = 10 * time.Second
)

// Stuck implements status.Agent.
func (a *Agent) Stuck() error {
	if beat := a.files.Beat(); !beat.IsZero() && time.Since(beat) > stands {
		return fmt.Errorf("the reading of files stands since %s", beat.UTC().Format(time.RFC3339))
	}
	return nil
}

// NotReady implements status.Agent.
func (a *Agent) NotReady() (why []string) {
	select {
	case <-a.ready:
	default:
		why = append(why, "the first look for files is not done")
	}
	a.mu.Lock()
	client := a.client
	a.mu.Unlock()
	if away, connected := client.since(); !connected && time.Since(away) > awayFor {
		why = append(why, fmt.Sprintf("the server can't be reached since %s", away.UTC().Format(time.RFC3339)))
	}
	for _, l := range a.delivery.Lanes() {
		if l.State == "refused" && l.Messages > 0 {
			why = append(why, fmt.Sprintf("topic %s is refused: %s", l.Topic, l.Why))
		} else if l.State == "retrying" && time.Since(l.Since) > awayFor {
			why = append(why, fmt.Sprintf("topic %s: %s", l.Topic, l.Why))
		}
	}
	if s := a.delivery.Sizes(); s.SpoolBound > 0 && s.Spool > s.SpoolBound/10*9 {
		why = append(why, fmt.Sprintf("the spool has %d of its %d bytes", s.Spool, s.SpoolBound))
	}
	return why
}

// Sources implements status.Agent.
func (a *Agent) Sources() iter.Seq[status.Source] {
	return func(yield func(status.Source) bool) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		all, err := a.files.Sources(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			a.log.Debug("not all files could be listed", "err", err)
		}
		for _, f := range all {
			s := status.Source{
				Input: f.Input, Source: f.Path, Topic: a.delivery.TopicOf(f.ID), Position: f.Position, Size: f.Size,
				LagBytes: max(f.Size-f.Position, 0), LagSeconds: f.Lag.Seconds(),
			}
			if !yield(s) {
				return
			}
		}
		for _, in := range a.config().Inputs {
			if in.From.Kind == inputs.File {
				continue
			}
			c := a.delivery.Counters(in.Name)
			waiting, taken := c.Waiting(), c.TakenBytes.Load()
			s := status.Source{
				Input: in.Name, Source: in.From.String(), Topic: in.Topic.String(), Position: max(taken-waiting, 0), Size: taken, LagBytes: waiting,
			}
			if s.LagBytes > 0 && in.Topic.Constant() {
				s.LagSeconds = a.delivery.Oldest(in.Topic.String()).Seconds()
			}
			if !yield(s) {
				return
			}
		}
	}
}

// Figures implements status.Agent.
func (a *Agent) Figures() status.Figures {
	sizes := a.delivery.Sizes()
	a.mu.Lock()
	_, connected := a.client.since()
	c := a.settings
	counters := map[string]*inputs.Counters{}
	for name, n := range a.counters {
		counters[name] = n
	}
	a.mu.Unlock()
	f := status.Figures{
		SpoolBytes: sizes.Spool, LedgerBytes: sizes.Ledger, DeadMessages: sizes.DeadMessages,
		ServerConnected: connected, ReloadFailed: a.reloadFailed.Load(), Version: a.o.Version,
	}
	ofFiles := a.files.Counters()
	for _, in := range c.Inputs {
		n := a.delivery.Counters(in.Name)
		x := status.InputFigures{
			Input: in.Name, TakenMessages: n.TakenMessages.Load(), TakenBytes: n.TakenBytes.Load(),
			StoredMessages: n.StoredMessages.Load(), StoredBytes: n.StoredBytes.Load(), Holes: holes(n.Holes()),
		}
		if l := counters[in.Name]; l != nil {
			x.BlockedSeconds, x.Connections = l.Blocked.Total().Seconds(), l.Connections.Load()
			x.ParseFailures, x.LinesSplit = l.ParseFailures.Load(), l.LinesSplit.Load()
			x.LagBytes = n.Waiting()
			if x.LagBytes > 0 && in.Topic.Constant() {
				x.LagSeconds = a.delivery.Oldest(in.Topic.String()).Seconds()
			}
		}
		if o := ofFiles[in.Name]; o != nil {
			x.Files, x.FilesOpen, x.LagBytes, x.LagSeconds = o.Files.Load(), o.Open.Load(), o.LagBytes.Load(), time.Duration(o.LagNanos.Load()).Seconds()
			x.Rotations, x.Truncations, x.Copies = o.Rotations.Load(), o.Truncations.Load(), o.Copies.Load()
			x.NULBytesSkipped, x.LinesSplit = o.NULs.Load(), o.Split.Load()
			f.UnlinkedOpenBytes += o.UnlinkedBytes.Load()
		}
		f.Inputs = append(f.Inputs, x)
	}
	for _, l := range a.delivery.Lanes() {
		f.Topics = append(f.Topics, status.TopicFigures{Topic: l.Topic, State: l.State, Batches: l.Batches, Resent: l.Resent, PossibleDuplicates: l.Doubled})
	}
	return f
}

func holes(all map[feed.Kind]ledger.Lost) map[feed.Kind]status.HoleFigures {
	m := map[feed.Kind]status.HoleFigures{}
	for kind, l := range all {
		m[kind] = status.HoleFigures{Holes: l.Holes, Messages: l.Messages, Bytes: l.Bytes}
	}
	return m
}

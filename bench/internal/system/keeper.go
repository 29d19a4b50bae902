package system

import (
	"context"
	"fmt"

	"github.com/logd-dev/logd"
)

// Keeping is a system that keeps where the consumers of its topics are, by names that they
// choose: its servers are Keepers.
type Keeping interface {
	System
	Keeps()
}

// Keeper is a server of such a system.
type Keeper interface {
	Server
	// Saver returns a saver for consumers of a topic, with a connection of its own, which
	// lives until Close.
	Saver(ctx context.Context, topic string, consumers []string) (Saver, error)
	// Kept tells what is stored of all saves.
	Kept(ctx context.Context) (Kept, error)
}

// Saver saves where consumers are, each save for what the consumer saved last. It is for
// one goroutine.
type Saver interface {
	// Save saves where the ith consumer is, and returns when that is acknowledged.
	Save(ctx context.Context, i int) error
	// Fill saves once for each of so many consumers that have the name of the first
	// with a number behind it.
	Fill(ctx context.Context, n int) error
	Close() error
}

// Kept is how many saves are stored in how many batches, from an offset on.
type Kept struct{ Oldest, Saves, Batches int64 }

// Keeps implements Keeping.
func (*Logd) Keeps() {}

type logdSaver struct {
	client    *logd.Client
	topic     string
	consumers []string
	versions  []int64
}

// Saver implements Keeper.
func (s *logdServer) Saver(ctx context.Context, topic string, consumers []string) (Saver, error) {
	client, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &logdSaver{client, topic, consumers, make([]int64, len(consumers))}, nil
}

func (s *logdSaver) Save(ctx context.Context, i int) (err error) {
	s.versions[i], err = s.client.SetPosition(ctx, s.topic, s.consumers[i], logd.PositionChange{Version: s.versions[i]})
	return err
}

func (s *logdSaver) Fill(ctx context.Context, n int) error {
	for i := range n {
		if _, err := s.client.SetPosition(ctx, s.topic, fmt.Sprint(s.consumers[0], "-", i), logd.PositionChange{}); err != nil {
			return err
		}
	}
	return nil
}

func (s *logdSaver) Close() error { return s.client.Close() }

// Kept implements Keeper.
func (s *logdServer) Kept(ctx context.Context) (Kept, error) {
	client, err := s.dial(ctx)
	if err != nil {
		return Kept{}, err
	}
	defer client.Close()
	in, err := client.Info(ctx, "__positions")
	return Kept{in.Oldest, in.Messages, in.Batches}, err
}

package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// Field is one named value of a server.
type Field struct {
	Name, Value string
}

// String returns the field as the server writes it.
func (f Field) String() string { return f.Name + ": " + f.Value }

// maxFields is the length of the longest body of fields that is taken apart: they
// take many times as much memory as the body does.
const maxFields = 1 << 20

// parseFields parses a body of lines of the form "name: value".
func parseFields(body []byte) ([]Field, error) {
	if len(body) > maxFields {
		return nil, fmt.Errorf("a body of %d bytes, of at most %d", len(body), maxFields)
	}
	parsed, err := protocol.ParseFields(body)
	var fields []Field
	for _, f := range parsed {
		fields = append(fields, Field(f))
	}
	return fields, err
}

// Stats returns the server's counters in the server's order.
func (c *Client) Stats(ctx context.Context) ([]Field, error) {
	return body(ctx, c, "stats", &protocol.Request{Command: protocol.Stats}, parseFields)
}

// ServerConfig is what a server says of its settings.
type ServerConfig struct {
	// Host is the address that the server listens on.
	Host string
	// Timeout bounds a request, IdleTimeout a connection's rest.
	Timeout, IdleTimeout time.Duration
	// MaxBatchSize is the length of the largest batch, envelope and data.
	MaxBatchSize int64
	// MaxMessages is the largest number of messages to read at once, and 0
	// if the server does not say.
	MaxMessages int64
	// PartitionSize is the length at which a partition is full, Partitions how many
	// of a topic are kept; 0 if the server does not say.
	PartitionSize, Partitions int64
	// FlushBatches is after how many batches of a topic the server syncs,
	// FlushInterval after what time; 0 for never, or if the server does not say.
	FlushBatches  int64
	FlushInterval time.Duration
	// DeleteHook tells that the server has a delete hook.
	DeleteHook bool
	// Producers is how many batches back the server knows one that a producer has
	// numbered and sends again; 0 if it knows none.
	Producers int64
	// Version is the server's, "" if it does not say.
	Version string
	// Node is the server's name in the cluster with the id Cluster, and ElectionTimeout
	// after how much silence of a leader another one is elected there. They are zero if
	// it is in no cluster.
	Node, Cluster   string
	ElectionTimeout time.Duration
	// Fields are all lines of the answer, those above included.
	Fields []Field
}

// SyncsFirst reports whether a batch is on stable storage when the server answers
// that it is stored.
func (cfg *ServerConfig) SyncsFirst() bool { return cfg.FlushBatches == 1 }

// Config returns the server's settings.
func (c *Client) Config(ctx context.Context) (*ServerConfig, error) {
	return body(ctx, c, "config", &protocol.Request{Command: protocol.Config}, parseConfig)
}

func parseConfig(body []byte) (*ServerConfig, error) {
	fields, err := parseFields(body)
	if err != nil {
		return nil, err
	}
	s, err := protocol.ParseSettings(body)
	if err != nil {
		return nil, err
	}
	return &ServerConfig{
		Host: s.Host, Timeout: s.Timeout, IdleTimeout: s.IdleTimeout, MaxBatchSize: s.MaxBatchSize, MaxMessages: s.MaxMessages,
		PartitionSize: s.PartitionSize, Partitions: s.Partitions, FlushBatches: s.FlushBatches, FlushInterval: s.FlushInterval,
		DeleteHook: s.DeleteHook, Producers: s.Producers, Version: s.Version, Node: s.Node, Cluster: s.Cluster, ElectionTimeout: s.ElectionTimeout, Fields: fields,
	}, nil
}

// CommandHelp is what a server says of one of its commands.
type CommandHelp struct {
	// Usage is the command and its words, as in "INFO <topic>", Meaning a line of
	// what it does.
	Usage, Meaning string
}

// Help returns the commands that the server knows, in the server's order.
func (c *Client) Help(ctx context.Context) ([]CommandHelp, error) {
	parsed, err := body(ctx, c, "help", &protocol.Request{Command: protocol.Help}, protocol.ParseHelp)
	var commands []CommandHelp
	for _, h := range parsed {
		commands = append(commands, CommandHelp{Usage: h.Words, Meaning: h.Meaning})
	}
	return commands, err
}

package protocol

import (
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Settings is the body of CONFIG. Its first four lines are all that a server of
// version 0.3 sends.
type Settings struct {
	Host                 string // that the server listens on
	Timeout, IdleTimeout time.Duration
	MaxBatchSize         int64

	MaxMessages   int64 // 0 if the server does not say
	PartitionSize int64
	Partitions    int64
	FlushBatches  int64
	FlushInterval time.Duration
	DeleteHook    bool         // there is one
	Producers     int64        // how far back a numbered batch is known, in batches; 0 if there are none
	Codecs        batch.Codecs // in which batches are taken
	// MaxUncompressedSize is how large the data of a compressed batch may be, unpacked.
	MaxUncompressedSize int64
	Positions           int64 // how many positions of consumers are kept; 0 if none are
	// TopicLimits tells that topics may have a batch-size or a durability of their own, which
	// INFO tells.
	TopicLimits bool
	Version     string

	// Of a member of a cluster; else they are zero, and have no line.
	Node            string
	Cluster         string        // hexadecimal id
	ElectionTimeout time.Duration // after how much silence of a leader another is elected
	RetentionAge    time.Duration
	RetentionBytes  int64
	Topics          int64  // how many there may be
	TopicsWhitelist string // with commas between
	KeepFree        int64
}

// SyncsFirst reports whether a batch is on stable storage when the server answers
// that it is stored.
func (s *Settings) SyncsFirst() bool { return s.FlushBatches == 1 }

// AppendSettings appends the body of CONFIG.
func AppendSettings(dst []byte, s *Settings) []byte {
	number := func(name string, n int64) { dst = AppendField(dst, name, strconv.FormatInt(n, 10)) }
	dst = AppendField(dst, "Host", s.Host)
	dst = AppendField(dst, "Timeout", s.Timeout.String())
	dst = AppendField(dst, "IdleTimeout", s.IdleTimeout.String())
	number("MaxBatchSize", s.MaxBatchSize)
	number("MaxMessages", s.MaxMessages)
	number("PartitionSize", s.PartitionSize)
	number("Partitions", s.Partitions)
	number("FlushBatches", s.FlushBatches)
	dst = AppendField(dst, "FlushInterval", s.FlushInterval.String())
	dst = AppendField(dst, "DeleteHook", strconv.FormatBool(s.DeleteHook))
	number("Producers", s.Producers)
	dst = AppendField(dst, "Codecs", s.Codecs.String())
	number("MaxUncompressedSize", s.MaxUncompressedSize)
	number("Positions", s.Positions)
	dst = AppendField(dst, "Version", s.Version)
	if s.TopicLimits {
		dst = AppendField(dst, "TopicLimits", "true")
	}
	if s.Node != "" {
		dst = AppendField(dst, "Node", s.Node)
		dst = AppendField(dst, "Cluster", s.Cluster)
		dst = AppendField(dst, "ElectionTimeout", s.ElectionTimeout.String())
		dst = AppendField(dst, "RetentionAge", s.RetentionAge.String())
		number("RetentionBytes", s.RetentionBytes)
		number("Topics", s.Topics)
		dst = AppendField(dst, "TopicsWhitelist", s.TopicsWhitelist)
		number("KeepFree", s.KeepFree)
	}
	return dst
}

// ParseSettings parses the body of CONFIG. What it has no line of is zero.
func ParseSettings(body []byte) (Settings, error) {
	var s Settings
	fields, err := ParseFields(body)
	if err != nil {
		return s, err
	}
	values := map[string]any{
		"Host": &s.Host, "Timeout": &s.Timeout, "IdleTimeout": &s.IdleTimeout, "MaxBatchSize": &s.MaxBatchSize,
		"MaxMessages": &s.MaxMessages, "PartitionSize": &s.PartitionSize, "Partitions": &s.Partitions,
		"FlushBatches": &s.FlushBatches, "FlushInterval": &s.FlushInterval, "DeleteHook": &s.DeleteHook,
		"Producers": &s.Producers, "Codecs": &s.Codecs, "MaxUncompressedSize": &s.MaxUncompressedSize, "Positions": &s.Positions, "TopicLimits": &s.TopicLimits, "Version": &s.Version,
		"Node": &s.Node, "Cluster": &s.Cluster, "ElectionTimeout": &s.ElectionTimeout,
		"RetentionAge": &s.RetentionAge, "RetentionBytes": &s.RetentionBytes, "Topics": &s.Topics,
		"TopicsWhitelist": &s.TopicsWhitelist, "KeepFree": &s.KeepFree,
	}
	for _, f := range fields {
		var err error
		switch v := values[f.Name].(type) {
		case *string:
			*v = f.Value
		case *int64:
			*v, err = strconv.ParseInt(f.Value, 10, 64)
		case *bool:
			*v, err = strconv.ParseBool(f.Value)
		case *time.Duration:
			*v, err = time.ParseDuration(f.Value)
		case *batch.Codecs:
			var ok bool
			if *v, ok = parseCodecs(f.Value); !ok {
				err = strconv.ErrSyntax
			}
		}
		if err != nil {
			return s, badField(f)
		}
	}
	return s, nil
}

package logd

import (
	"context"

	"github.com/logd-dev/logd/internal/link"
)

// NewPlainClient is NewClient of one that offers no codecs, whatever is registered.
func NewPlainClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	full := cfg.withDefaults()
	return &Client{cfg: full, pool: link.NewPool(full.options())}, nil
}

// NewWriterWithPIDs is NewWriter of one that gives itself these ids, one after another.
func NewWriterWithPIDs(ctx context.Context, c *Client, topic string, cfg WriterConfig, next func() string) (*Writer, error) {
	return newWriter(c, topic, cfg, func(w *Writer) (failures int, err error) {
		w.newPID = next
		return 2, w.probe(ctx)
	})
}

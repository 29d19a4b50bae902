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

// NewWriterWithPIDs is NewWriter of one that gives itself these ids, one after another. It
// asks no server before it has something to send, as the clients in other languages do: so
// messages are taken before it is known how large batches may be.
func NewWriterWithPIDs(ctx context.Context, c *Client, topic string, cfg WriterConfig, next func() string) (*Writer, error) {
	return newWriter(c, topic, cfg, func(w *Writer) (failures int, err error) {
		w.newPID = next
		return 0, nil
	})
}

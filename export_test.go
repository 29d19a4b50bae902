package logd

import "context"

// NewWriterWithPIDs is NewWriter of one that gives itself these ids, one after another.
func NewWriterWithPIDs(ctx context.Context, c *Client, topic string, cfg WriterConfig, next func() string) (*Writer, error) {
	return newWriter(c, topic, cfg, func(w *Writer) (failures int, err error) {
		w.newPID = next
		return 2, w.probe(ctx)
	})
}

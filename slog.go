package logd

import "log/slog"

// NewSlogHandler returns a handler for log/slog that writes each record to w as
// one message: a JSON object, as slog.JSONHandler makes it with these options,
// without a newline.
//
// Where w blocks, so does the logging call, whatever its context: what is being
// logged may be why that has ended. slog.Logger ignores errors: what w cannot
// deliver is told to its OnError, what it does not take is counted in
// [WriterStats].Refused.
func NewSlogHandler(w *Writer, opts *slog.HandlerOptions) slog.Handler {
	return slog.NewJSONHandler(lineWriter{w}, opts)
}

// lineWriter writes lines, each given by one Write, as messages.
type lineWriter struct{ w *Writer }

func (l lineWriter) Write(p []byte) (int, error) {
	line := p
	if n := len(p); n > 0 && p[n-1] == '\n' {
		line = p[:n-1]
	}
	if _, err := l.w.Write(line); err != nil {
		return 0, err
	}
	return len(p), nil
}

package inputs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// pieces takes the messages of a stream: the lines, or what framing makes of it.
type pieces interface {
	write(p []byte) error
	end() error // of the stream: what is left is taken
	put() error
}

// serveStream reads a connection to its end, or to that of the input, and takes what
// comes. Nobody is told of anything.
func (in *Input) serveStream(r io.Reader, p pieces, remote string) {
	b := make([]byte, readBuffer)
	var err error
	for err == nil {
		var n int
		n, err = r.Read(b)
		if n > 0 {
			if e := p.write(b[:n]); e != nil {
				err = e
			}
		}
	}
	switch {
	case errors.Is(err, feed.ErrClosing), errors.Is(err, feed.ErrFull), errors.Is(err, context.Canceled):
		return // what was put is taken, and no more will be
	case errors.Is(err, errBadCount):
		in.sparse.Log(in.log, slog.LevelWarn, "a connection is closed: its messages can't be told apart any more", "remote", remote, "error", err)
	case !errors.Is(err, io.EOF) && !errors.Is(err, errStopped):
		in.log.Debug("a connection broke", "remote", remote, "error", err)
	}
	if !errors.Is(err, errBadCount) {
		if p.end() != nil {
			return
		}
	}
	p.put()
}

// lineTaker takes the lines of a stream.
type lineTaker struct {
	taker
	stream lines.Stream
	remote string
}

// lines returns how lines are made.
func (c *Config) lines() lines.Settings {
	return lines.Settings{Max: c.MaxLine, Long: c.LongLines, TrimCR: c.TrimCR}
}

func (t *lineTaker) write(p []byte) error {
	t.stream.Settings = t.in.config.Load().lines()
	return t.stream.Write(p, t.piece)
}

func (t *lineTaker) end() error { return t.stream.End(t.piece) }

func (t *lineTaker) put() error { return t.taker.put(nil) }

// piece takes a piece.
func (t *lineTaker) piece(p lines.Piece) error {
	if p.TooLong {
		t.tooLong(p.From, p.To, t.stream.Long)
		return nil
	}
	if p.Part == 1 {
		t.in.counters.LinesSplit.Add(1)
	}
	m := p.Message()
	m.Remote = t.remote
	if t.add(m) {
		return t.put()
	}
	return nil
}

// tooLong tells of bytes that were taken and are left out.
func (t *taker) tooLong(from, to int64, long lines.Long) {
	h := feed.Hole{Kind: feed.TooLong, From: from, To: to, Bytes: to - from, Cause: "a line is longer than max-line: what is behind that is cut off"}
	if long == lines.Skip {
		h.Messages, h.Cause = 1, "a line is longer than max-line: it is skipped"
	}
	t.live.Hole(h)
}

// serveLines serves a connection of lines.
func (in *Input) serveLines(nc net.Conn, remote string) {
	live := in.sink.Live(in.config.Load().Name, nameOf(in, remote))
	defer live.Close()
	t := &lineTaker{taker: taker{in: in, live: live}, remote: remote}
	in.serveStream(&reader{nc: nc, before: t.put}, t, remote)
}

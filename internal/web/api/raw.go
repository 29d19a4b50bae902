package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// roundSize is how much is sent under one deadline.
const roundSize = 512 << 10

// raw answers with whole batches as they are stored: what one READ finds.
func (rd *reading) raw() error {
	r := rd.r
	var ok bool
	if r.caller.Codecs, ok = ask.CodecsOf(r.Header); !ok {
		return problem.New(problem.InvalidRequest, "Logd-Codecs is no list of codecs: want names with commas between, as zstd,s2.")
	}
	if rd.from.Delta > 0 {
		return problem.New(problem.NotAPlace, fmt.Sprintf("No batch begins at %v; raw has whole batches.", rd.from)).
			With("next_id", strconv.FormatInt(rd.from.Offset, 10))
	}
	req := protocol.Request{
		Command: protocol.Read, Topic: []byte(r.topic), Offset: rd.from.Offset, Messages: min(rd.limit, max(rd.conf.MaxMessages, 1)),
		Waits: rd.wait > 0, Wait: rd.wait, Fresh: rd.fresh,
	}
	if rd.r.query.Has("max_bytes") {
		req.MaxBytes = rd.maxBytes
	}
	if to := rd.to; to != nil {
		if to.Delta > 0 {
			return problem.New(problem.NotAPlace, fmt.Sprintf("No batch begins at %v; raw has whole batches.", *to)).
				With("next_id", strconv.FormatInt(to.Offset, 10))
		}
		room := to.Offset - rd.from.Offset
		if room <= 0 {
			return rd.sendRaw(ask.Answer{Offset: rd.from.Offset})
		}
		if req.MaxBytes == 0 || req.MaxBytes > room {
			req.MaxBytes = room
		}
	}
	a, err := r.caller.Ask(rd.ctx, &req)
	if errors.Is(err, protocol.ErrNotFound) {
		if err = r.caller.Missing(rd.ctx, rd.conf, r.topic, rd.from.Offset, rd.fresh); err == io.EOF {
			return rd.sendRaw(ask.Answer{Offset: rd.from.Offset})
		}
	}
	if err != nil {
		return rd.explain(err)
	}
	return rd.sendRaw(a)
}

// sendRaw answers with what was found.
func (rd *reading) sendRaw(a ask.Answer) error {
	r, length := rd.r, int64(0)
	if a.View != nil {
		defer a.View.Close()
		length = a.View.Len()
	}
	h := r.w.Header()
	h.Set("Content-Type", protocol.ContentType)
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("Logd-From", strconv.FormatInt(a.Offset, 10))
	h.Set("Logd-Next", strconv.FormatInt(a.Offset+length, 10))
	if length == 0 || r.Method == http.MethodHead {
		r.start(200)
		return nil
	}
	stored := ask.NewStored(a.View, r.api.o.Timeout())
	defer func() { r.caller.SentFiles(stored.Sendfiles) }()
	for stored.Round(roundSize) {
		r.start(200)
		n, err := io.Copy(r.w, stored)
		r.caller.Sent(int(n))
		if err != nil {
			return err
		}
	}
	return nil
}

package api

import (
	"fmt"
	"mime"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/web/problem"
)

// shape is how messages are answered.
type shape uint8

const (
	ndjson shape = iota // a line of JSON each
	page                // one JSON object of some
	text                // a line each
	raw                 // stored batches
	events              // as they come
)

// shapes are the shapes by the names that format= has for them, and types by the media
// types of Accept.
var (
	shapes     = map[string]shape{"ndjson": ndjson, "json": page, "text": text, "raw": raw, "sse": events}
	shapeNames = "ndjson, json, text, raw or sse"
	types      = map[string]shape{
		"application/x-ndjson": ndjson, "application/json": page, "text/html": page, "text/plain": text,
		"application/logd": raw, "text/event-stream": events, "*/*": ndjson, "application/*": ndjson, "text/*": text,
	}
)

// shape returns how the messages are wanted: as format= says, else as Accept prefers.
func (r *request) shape() (shape, error) {
	if name := r.query.Get("format"); r.query.Has("format") {
		s, ok := shapes[name]
		if !ok {
			return 0, problem.New(problem.InvalidRequest, fmt.Sprintf("format=%q is wrong: want %s.", clip(name), shapeNames))
		}
		return s, nil
	}
	best, most := ndjson, 0.0
	for part := range strings.SplitSeq(strings.Join(r.Header["Accept"], ","), ",") {
		name, params, err := mime.ParseMediaType(part)
		s, ok := types[name]
		if err != nil || !ok {
			continue
		}
		q := 1.0
		if given, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(given, 64); err != nil {
				continue
			}
		}
		if q > most {
			best, most = s, q
		}
	}
	return best, nil
}

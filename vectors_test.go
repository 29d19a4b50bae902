package logd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
)

// vectorPatience is how long a step of a vector may take.
const vectorPatience = 10 * time.Second

// TestVectors plays testdata/vectors, which the clients in other languages play too:
// see the README there.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			for _, v := range readVectors(t, file) {
				played++
				t.Run(v.Name, func(t *testing.T) {
					t.Parallel()
					if err := playVector(v); err != nil {
						t.Errorf("%v\n%s", err, v.Doc)
					}
				})
			}
		})
	}
	if played < 60 {
		t.Errorf("%d vectors, want 60 at least", played)
	}
}

// TestVectorsCanFail plays vectors that are wrong.
func TestVectorsCanFail(t *testing.T) {
	const ping = `{"call": "ping"}, {"accept": "a"}, {"expect": "PING"}, `
	for name, test := range map[string]struct{ steps, want string }{
		"another request": {`{"call": "ping"}, {"accept": "a"}, {"expect": "TOPICS"}`, `the client sent "PING"`},
		"another result":  {ping + `{"send": "OK\r\n"}, {"result": 1}`, "the client says"},
		"no error":        {ping + `{"send": "OK\r\n"}, {"result": {"error": "busy"}}`, "the client says"},
		"another error":   {ping + `{"send": "ERR busy\r\n"}, {"result": {"error": "read only"}}`, "the client says"},
		"unknown":         {`{"call": "append", "topic": "t", "messages": ["a"]}, {"accept": "a"}, {"expect": "BATCH *", "data": "MSG 1\r\na\r\n"}, {"close": "a"}, {"result": {"error": "connection lost"}}`, "the client says"},
		"other data":      {`{"call": "append", "topic": "t", "messages": ["a"]}, {"accept": "a"}, {"expect": "BATCH *", "data": "MSG 1\r\nb\r\n"}`, "the client sent the data"},
	} {
		v := vector{Config: map[string]any{}}
		if err := decodeVector([]byte("["+test.steps+"]"), &v.Steps); err != nil {
			t.Fatal(err)
		}
		if err := playVector(v); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// vector is one play.
type vector struct {
	Name, Doc string
	Config    map[string]any
	Steps     []map[string]any
}

func readVectors(t *testing.T, file string) (vectors []vector) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := decodeVector(text, &vectors); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return vectors
}

func decodeVector(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

// The values of a vector.

func vectorText(m map[string]any, key, or string) string {
	if s, ok := m[key].(string); ok {
		return s
	}
	return or
}

func vectorInt(m map[string]any, key string, or int64) int64 {
	if n, ok := m[key].(json.Number); ok {
		i, err := n.Int64()
		if err != nil {
			panic(err)
		}
		return i
	}
	return or
}

func vectorList(m map[string]any, key string) (texts []string) {
	list, _ := m[key].([]any)
	for _, v := range list {
		texts = append(texts, v.(string))
	}
	return texts
}

// vectorBytes returns the bytes that a text or an object stands for.
func vectorBytes(v any) []byte {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case map[string]any:
		if text, ok := v["base64"].(string); ok {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				panic(err)
			}
			return b
		}
		return bytes.Repeat([]byte(v["repeat"].(string)), int(vectorInt(v, "times", 1)))
	}
	panic(fmt.Sprintf("%v stands for no bytes", v))
}

func vectorMessages(m map[string]any) (bodies [][]byte) {
	for _, v := range m["messages"].([]any) {
		bodies = append(bodies, vectorBytes(v))
	}
	return bodies
}

// vectorBatch returns the batch to the byte. It is made here, and not by what is
// tested.
func vectorBatch(m map[string]any) []byte {
	var data []byte
	bodies := vectorMessages(m)
	for _, b := range bodies {
		data = fmt.Appendf(data, "MSG %d\r\n%s\r\n", len(b), b)
	}
	line := fmt.Sprintf("BATCH %d %s %d %d", len(data), m["topic"], crc32.ChecksumIEEE(data), len(bodies))
	if pid, ok := m["pid"]; ok {
		line += fmt.Sprintf(" pid=%s seq=%s", pid, m["seq"])
	}
	return append([]byte(line+"\r\n"), data...)
}

func vectorBody(lines ...string) []byte {
	var body []byte
	for _, line := range lines {
		body = append(append(body, line...), '\r', '\n')
	}
	return fmt.Appendf(nil, "MOK %d\r\n%s\r\n", len(body), body)
}

func vectorInfo(m map[string]any) []byte {
	oldest, next := vectorInt(m, "oldest", 0), vectorInt(m, "next", 0)
	lines := []string{fmt.Sprint("Oldest: ", oldest), fmt.Sprint("Next: ", next), "Partitions: 1", fmt.Sprint("Bytes: ", next-oldest), "Messages: 1", "Batches: 1"}
	if id, ok := m["id"]; ok {
		lines = append(lines, fmt.Sprint("Id: ", id))
	}
	if damaged, ok := m["damaged"]; ok {
		lines = append(lines, fmt.Sprint("DamagedAt: ", damaged))
	}
	return vectorBody(lines...)
}

// What the client says, as vectors write it.

// written is what becomes of messages that a Writer has taken.
type written struct{ results []chan logd.WriteResult }

func (p *vectorPlay) told(v any) (any, error) {
	switch v := v.(type) {
	case *written:
		var list []any
		for _, c := range v.results {
			select {
			case r := <-c:
				list = append(list, toldResult(r))
			case <-time.After(vectorPatience):
				return nil, fmt.Errorf("a message has no answer after %v", vectorPatience)
			}
		}
		return list, nil
	case error:
		return toldError(v), nil
	}
	return v, nil
}

func toldResult(r logd.WriteResult) any {
	switch {
	case r.Err != nil:
		return toldError(r.Err)
	case r.Offset < 0:
		return nil
	}
	return logd.ID{Offset: r.Offset, Delta: r.Delta}.String()
}

func toldMessages(in *logd.Result) any {
	messages := []any{}
	for _, b := range in.Batches {
		for m := range b.All() {
			messages = append(messages, []any{m.ID().String(), string(m.Body)})
		}
	}
	return map[string]any{"offset": in.Offset, "next": in.Next, "messages": messages}
}

func toldError(err error) map[string]any {
	told := map[string]any{"text": err.Error(), "unknown": logd.IsUnknown(err)}
	if e, ok := errors.AsType[*logd.GoneError](err); ok {
		told["begin"], told["end"], told["cause"] = e.Offset, e.Oldest, gapCause(e)
	}
	if e, ok := errors.AsType[*logd.NotLeaderError](err); ok {
		told["addr"] = e.Addr
	}
	if e, ok := errors.AsType[*logd.OutOfOrderError](err); ok {
		told["next"] = e.Next
	}
	if e, ok := errors.AsType[*logd.VersionConflictError](err); ok {
		told["version"] = e.Version
	}
	if e, ok := errors.AsType[*logd.HeldError](err); ok {
		told["left_ms"] = e.Left.Milliseconds()
	}
	told["error"] = errorCode(err)
	return told
}

func gapCause(e *logd.GoneError) string {
	switch {
	case e.Replaced:
		return "replaced"
	case e.Damaged:
		return "damage"
	}
	return "retention"
}

func errorCode(err error) string {
	if e, ok := errors.AsType[*logd.ReplyError](err); ok {
		return e.Reason
	}
	if _, ok := errors.AsType[*logd.GoneError](err); ok {
		return "gap"
	}
	if _, ok := errors.AsType[*logd.OffsetError](err); ok {
		return "no message"
	}
	for _, c := range []struct {
		err  error
		code string
	}{
		{logd.ErrCorrupt, "corrupt"}, {logd.ErrNoTopic, "no topic"}, {logd.ErrNoBatch, "no batch"}, {logd.ErrPlainToken, "plain token"},
		{logd.ErrConnectionLost, "connection lost"}, {logd.ErrBadAnswer, "bad answer"}, {logd.ErrUnauthorized, "unauthorized"}, {logd.ErrTLSRequired, "tls required"},
		{logd.ErrConnect, "connect"}, {logd.ErrClosed, "closed"},
		{logd.ErrNotFound, "not found"}, {logd.ErrInvalidRequest, "invalid request"}, {logd.ErrInvalidProtocol, "invalid protocol"},
		{logd.ErrTooLarge, "too large"}, {logd.ErrChecksumMismatch, "checksum mismatch"}, {logd.ErrMaxTopics, "maximum topics allowed"},
		{logd.ErrTopicNotAllowed, "topic not allowed"}, {logd.ErrUnsupportedCodec, "unsupported codec"}, {logd.ErrNotLeader, "not leader"},
		{logd.ErrBusy, "busy"}, {logd.ErrShuttingDown, "shutting down"}, {logd.ErrReadOnly, "read only"}, {logd.ErrOutOfOrder, "out of order"},
		{logd.ErrSequenceConflict, "sequence conflict"}, {logd.ErrInternal, "internal error"},
		{logd.ErrVersionConflict, "version conflict"}, {logd.ErrHeld, "held"}, {logd.ErrMaxPositions, "maximum positions allowed"},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "error"
}

// matches reports whether the client has said what is wanted.
func (p *vectorPlay) matches(got, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		if _, ok := got.(string); ok {
			return got == string(vectorBytes(w))
		}
		g, ok := got.(map[string]any)
		if !ok {
			return false
		}
		if _, fails := w["error"]; fails && g["unknown"] != (w["unknown"] == true) {
			return false
		}
		for key, v := range w {
			if value, ok := g[key]; !ok || !p.matches(value, v) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !p.matches(g[i], w[i]) {
				return false
			}
		}
		return true
	case string:
		return got == p.text(w)
	case json.Number:
		n, ok := got.(int64)
		return ok && fmt.Sprint(n) == w.String()
	}
	return got == want
}

// vectorReader is a Scanner, and what it has delivered.
type vectorReader struct {
	scanner *logd.Scanner
	events  chan any
	quit    chan struct{}
}

func (p *vectorPlay) reader(step map[string]any) (*vectorReader, error) {
	r := &vectorReader{events: make(chan any), quit: make(chan struct{})}
	cfg := logd.ScannerConfig{Limit: vectorInt(step, "limit", 0), Follow: step["follow"] == true}
	switch start := step["start"].(type) {
	case map[string]any:
		cfg.Start = logd.AtTime(time.UnixMilli(vectorInt(start, "time_ms", 0)))
	case string:
		if start == "end" {
			cfg.Start = logd.AtNext()
		} else if start != "start" {
			cfg.Start = logd.At(vectorID(start))
		}
	}
	if after, ok := step["after"].(string); ok {
		cfg.Start = logd.After(vectorID(after))
	}
	if step["gaps"] == true {
		cfg.OnGone = func(g *logd.GoneError) error {
			r.tell(map[string]any{"gap": map[string]any{"begin": g.Offset, "end": g.Oldest, "cause": gapCause(g)}})
			return nil
		}
	}
	var err error
	if r.scanner, err = logd.NewScanner(p.ctx, p.client, step["topic"].(string), cfg); err != nil {
		return nil, err
	}
	go func() {
		for {
			m, err := r.scanner.Next(p.ctx)
			switch {
			case err == io.EOF:
				r.tell(map[string]any{"end": true})
				return
			case err != nil:
				r.tell(err)
				return
			case !r.tell([]any{m.ID().String(), string(m.Body)}):
				return
			}
		}
	}()
	return r, nil
}

func (r *vectorReader) tell(event any) bool {
	select {
	case r.events <- event:
		return true
	case <-r.quit:
		return false
	}
}

func vectorID(text string) logd.ID {
	var id logd.ID
	if err := id.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return id
}

// do makes a call, and returns what the client says.
func (p *vectorPlay) do(step map[string]any) any {
	value, err := p.call(step)
	if err != nil {
		return err
	}
	return value
}

func (p *vectorPlay) call(step map[string]any) (any, error) {
	topic, on := vectorText(step, "topic", ""), vectorText(step, "on", "")
	if err, failed := p.object(on).(error); failed {
		return nil, err
	}
	switch name := step["call"].(string); name {
	case "ping":
		return nil, p.client.Ping(p.ctx)
	case "topics":
		names, err := p.client.Topics(p.ctx)
		list := []any{}
		for _, n := range names {
			list = append(list, n)
		}
		return list, err
	case "info":
		info, err := p.client.Info(p.ctx, topic)
		damaged := []any{}
		for _, r := range info.DamagedAt {
			damaged = append(damaged, []any{r.From, r.To})
		}
		return map[string]any{"oldest": info.Oldest, "next": info.Next, "id": info.ID, "damaged": damaged}, err
	case "append":
		var b logd.Batch
		var deltas []int64
		for _, body := range vectorMessages(step) {
			deltas = append(deltas, b.Add(body))
		}
		offset, err := p.client.Append(p.ctx, topic, &b)
		ids := []any{}
		for _, d := range deltas {
			ids = append(ids, logd.ID{Offset: offset, Delta: d}.String())
		}
		return ids, err
	case "read", "tail":
		var in *logd.Result
		var err error
		opts := logd.ReadOptions{Wait: time.Duration(vectorInt(step, "wait_ms", 0)) * time.Millisecond}
		if name == "tail" {
			in, err = p.client.Tail(p.ctx, topic, opts)
		} else {
			in, err = p.client.Read(p.ctx, topic, vectorInt(step, "offset", 0), opts)
		}
		if err != nil {
			return nil, err
		}
		return toldMessages(in), nil
	case "seek":
		return value(p.client.Seek(p.ctx, topic, time.UnixMilli(vectorInt(step, "time_ms", 0))))
	case "writer":
		pids := append(vectorList(step, "pids"), "none-left")
		cfg := logd.WriterConfig{
			BatchMessages: vectorInt(step, "batch_messages", 0), BatchAge: time.Duration(vectorInt(step, "batch_age_ms", 0)) * time.Millisecond,
			InFlight: int(vectorInt(step, "in_flight", 0)), Backlog: backlog.None{},
		}
		w, err := logd.NewWriterWithPIDs(p.ctx, p.client, topic, cfg, func() (pid string) {
			if pid = pids[0]; len(pids) > 1 {
				pids = pids[1:]
			}
			return pid
		})
		if err != nil {
			p.keep(step, err)
			return nil, err
		}
		p.keep(step, w)
		return nil, nil
	case "write":
		w, all := p.object(on).(*logd.Writer), new(written)
		for _, body := range vectorMessages(step) {
			result := make(chan logd.WriteResult, 1)
			if err := w.WriteFunc(p.ctx, body, func(r logd.WriteResult) { result <- r }); err != nil {
				return nil, err
			}
			all.results = append(all.results, result)
		}
		return all, nil
	case "flush":
		return nil, p.object(on).(*logd.Writer).Flush(p.ctx)
	case "close":
		return nil, p.object(on).(*logd.Writer).CloseContext(p.ctx)
	case "in_doubt":
		return p.object(on).(*logd.Writer).Stats().InDoubt, nil
	case "reader":
		r, err := p.reader(step)
		if err != nil {
			p.keep(step, err)
			return nil, err
		}
		p.keep(step, r)
		return nil, nil
	case "next":
		r := p.object(on).(*vectorReader)
		select {
		case e := <-r.events:
			return e, nil
		case <-p.ctx.Done():
			return nil, context.Cause(p.ctx)
		}
	}
	return p.positions(step)
}

// positions makes a call about positions.
func (p *vectorPlay) positions(step map[string]any) (any, error) {
	topic, consumer, worker := vectorText(step, "topic", ""), vectorText(step, "consumer", ""), vectorText(step, "worker", "")
	version, hold := vectorInt(step, "version", logd.AnyVersion), time.Duration(vectorInt(step, "hold_ms", 0))*time.Millisecond
	switch step["call"] {
	case "position":
		at, err := p.client.Position(p.ctx, topic, consumer)
		if errors.Is(err, logd.ErrNotFound) {
			return nil, nil
		}
		return map[string]any{"at": at.At.String(), "version": at.Version, "state": at.State}, err
	case "positions":
		all, err := p.client.Positions(p.ctx, topic)
		list := []any{}
		for _, at := range all {
			list = append(list, []any{at.Topic, at.Consumer, at.At.String(), at.Version})
		}
		return list, err
	case "set_position":
		return value(p.client.SetPosition(p.ctx, topic, consumer, logd.PositionChange{
			At: vectorID(step["at"].(string)), Version: version, TopicID: vectorText(step, "id", ""), As: worker, Hold: hold, Force: step["force"] == true,
		}))
	case "hold_position":
		return value(p.client.HoldPosition(p.ctx, topic, consumer, worker, hold))
	case "forget_position":
		return nil, p.client.ForgetPosition(p.ctx, topic, consumer, version, step["force"] == true)
	}
	return nil, fmt.Errorf("this client has no call %q", step["call"])
}

func value[T any](v T, err error) (any, error) { return v, err }

package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/problem"
)

// maxNumbered is how many batches of a producer the server knows again, so that a request
// that is sent again is the same only if it has no more.
const maxNumbered = 32

// Written is what is answered to messages that are stored, and in a problem's "stored".
type Written struct {
	Topic      string  `json:"topic"`
	Messages   int64   `json:"messages"`
	Batches    int64   `json:"batches"`
	Bytes      int64   `json:"bytes"` // of the body, unpacked, that are stored
	First      *string `json:"first"`
	Last       *string `json:"last"`
	Next       *string `json:"next"` // the place behind them
	Durability string  `json:"durability"`
	Duplicate  bool    `json:"duplicate"` // all of it was stored before
	NextSeq    *int64  `json:"next_seq,omitempty"`
	IDs        []ident `json:"ids,omitzero"`
}

// ident is the id of a message: OFFSET.DELTA.
type ident struct{ offset, delta int64 }

func (i ident) append(b []byte) []byte {
	b = strconv.AppendInt(b, i.offset, 10)
	b = append(b, '.')
	return strconv.AppendInt(b, i.delta, 10)
}

// String returns the id.
func (i ident) String() string { return string(i.append(nil)) }

// MarshalJSON implements json.Marshaler.
func (i ident) MarshalJSON() ([]byte, error) { return append(i.append([]byte{'"'}), '"'), nil }

// identSize is what an id takes in memory, and as text.
const identSize = 48

// The durabilities of what is stored, weakest first.
const (
	flushed    = "flushed"    // survives the end of the process
	synced     = "synced"     // on stable storage here
	replicated = "replicated" // on stable storage of a majority
)

// durability returns how durable what is stored is when it is answered.
func durability(c *protocol.Settings, syncsFirst bool) string {
	switch {
	case c.Node != "":
		return replicated
	case syncsFirst:
		return synced
	}
	return flushed
}

// enough reports whether what is had is as durable as what is wanted.
func enough(had, wanted string) bool {
	rank := map[string]int{"": 0, flushed: 1, synced: 2, replicated: 3}
	return rank[had] >= rank[wanted]
}

// write stores the messages of a body.
func write(r *request) error {
	form, err := r.form()
	if err != nil {
		return err
	}
	withIDs, err := r.flag("ids")
	if err != nil {
		return err
	}
	require, err := r.choice("require", "", synced, replicated)
	if err != nil {
		return err
	}
	w := &writing{r: r, lease: lease{of: r.api.memory}, withIDs: withIDs}
	defer w.lease.release()
	if err := w.number(); err != nil {
		return err
	}
	// What can be refused is refused before the body is read.
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Batch, Unsummed: true, Batch: batch.Header{
		Size: int64(batch.MinMessageLen), Topic: []byte(r.topic), Messages: 1,
	}}); err != nil {
		return err
	}
	conf, err := r.caller.Settings()
	if err != nil {
		return err
	}
	if w.pid != "" && conf.Producers == 0 {
		return problem.New(problem.InvalidRequest, "The server knows no numbers of batches (producers = 0): send no Idempotency-Key and no Logd-Producer.")
	}
	limits := r.caller.TopicLimits(r.topic)
	w.stored.Durability = durability(conf, limits.SyncsFirst)
	if !enough(w.stored.Durability, require) {
		return problem.New(problem.Durability, fmt.Sprintf("Messages are %s here when they are answered, not %s.", w.stored.Durability, require)).
			With("durability", w.stored.Durability)
	}
	if err := r.caller.Elsewhere(r.topic); err != nil { // told from the headers alone
		return err
	}
	return w.run(form, limits.MaxBatchSize)
}

// form returns how messages stand in the body of a request.
func (r *request) form() (form, error) {
	kind, err := r.contentType()
	if err != nil {
		return 0, err
	}
	if err := r.checkPage(kind); err != nil {
		return 0, err
	}
	switch kind {
	case "", "text/plain":
		return lines, nil
	case "application/x-www-form-urlencoded": // which curl sends
		if !r.fromPage() {
			return lines, nil
		}
	case "application/octet-stream", "application/json":
		return whole, nil
	case "application/x-ndjson":
		return objects, nil
	}
	return 0, problem.New(problem.ContentTypes, fmt.Sprintf(
		"Content-Type %q is not taken: want text/plain (a message a line), application/x-ndjson, or application/octet-stream or application/json (one message).", clip(kind)))
}

// writing stores the messages of one body.
type writing struct {
	r       *request
	lease   lease
	withIDs bool
	pid     string // of a producer, or empty
	seq     int64  // of the next batch
	own     bool   // the producer is the client's

	held   []heldBatch // of one that has a producer, until all are there
	stored Written
	first  ident
	news   bool // something was not stored before
}

// heldBatch is a batch that is not sent yet.
type heldBatch struct {
	raw []byte
	packed
}

// number takes the number of the first batch from the headers.
func (w *writing) number() error {
	h := w.r.Header
	keys, pids, seqs := h["Idempotency-Key"], h["Logd-Producer"], h["Logd-Seq"]
	wrong := func(detail string) error { return problem.New(problem.InvalidRequest, detail) }
	switch {
	case len(keys)+len(pids)+len(seqs) == 0:
		return nil
	case len(keys) > 0 && len(pids)+len(seqs) > 0:
		return wrong("Send Idempotency-Key, or Logd-Producer and Logd-Seq, and not both.")
	case len(keys) == 1:
		key := keys[0]
		if len(key) < 1 || len(key) > 255 {
			return wrong("Idempotency-Key is to have 1 to 255 bytes.")
		}
		for i := range len(key) {
			if key[i] < ' ' || key[i] > '~' {
				return wrong("Idempotency-Key is to have printable bytes of ASCII.")
			}
		}
		sum := sha256.Sum256([]byte(key))
		w.pid, w.seq = "h-"+hex.EncodeToString(sum[:15]), 1
		return nil
	case len(pids) == 1 && len(seqs) == 1:
		seq, ok := batch.ParseInt([]byte(seqs[0]))
		if !batch.ValidPID(pids[0]) || !ok || seq < 1 || seq > maxSeq-maxNumbered {
			return wrong(fmt.Sprintf("Logd-Producer is to be 1 to %d of A-Z a-z 0-9 . _ -, and Logd-Seq a number from 1 to %d.", batch.MaxPIDLen, int64(maxSeq-maxNumbered)))
		}
		w.pid, w.seq, w.own = pids[0], seq, true
		return nil
	}
	return wrong("Send one Idempotency-Key, or one Logd-Producer with one Logd-Seq.")
}

// The sizes of what a body is read into.
const (
	leastRead = 4 << 10
	mostRead  = 64 << 10
)

// run reads the body, stores what is in it and answers.
func (w *writing) run(f form, limit int64) error {
	r := w.r
	body, closeBody, err := r.open(&w.lease)
	if err != nil {
		return err
	}
	defer closeBody()
	p := &packer{form: f, topic: r.topic, limit: limit, numbered: w.pid != "", emit: w.emit}
	err = w.read(body, p)
	if err == nil {
		err = p.end()
	}
	// Of a body that is not good to its end, whole batches are stored all the same.
	for i := range w.held {
		if tooMany(err) {
			break
		}
		if sendErr := w.send(w.held[i].raw, &w.held[i].packed); sendErr != nil {
			err = sendErr
			break
		}
	}
	if err != nil {
		return w.failed(err)
	}
	w.finish()
	return r.json(200, &w.stored)
}

// read has the packer take all of the body.
func (w *writing) read(body io.Reader, p *packer) error {
	outside := w.lease.bytes // what is not for batches and messages
	size := int64(leastRead)
	if n := w.r.ContentLength; n > 0 { // else it is not known
		size = min(size, n)
	}
	buf := make([]byte, size)
	for {
		held := int64(0)
		for i := range w.held {
			held += int64(cap(w.held[i].raw))
		}
		ids := int64(len(w.stored.IDs)) * identSize
		// A batch and a message may both be begun, and grow by what is read.
		need := outside + int64(len(buf)) + held + ids + min(p.b.Size()+int64(len(buf)), p.limit)*2 + int64(cap(p.rest)+len(buf))
		if err := w.lease.grow(w.r.Context(), need, w.r.api.o.Timeout()); err != nil {
			return err
		}
		n, err := body.Read(buf)
		if n > 0 {
			if err := p.write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return w.r.bodyError(err)
		}
		if n == len(buf) && n < mostRead {
			buf = make([]byte, 2*n)
		}
	}
}

// errTooMany is a body that makes more batches than a producer's are known of.
var errTooMany = problem.New(problem.TooLarge, fmt.Sprintf(
	"The body makes more than %d batches, which is as many as are known again of a key or a producer. Send less in one request, each with a key of its own.", maxNumbered))

func tooMany(err error) bool { return err == error(errTooMany) }

// emit takes a batch that is ready. Those of a producer are sent when it is known that
// they are not too many.
func (w *writing) emit(b *packed) error {
	if w.pid == "" {
		return w.send(b.b.Finish(w.r.topic), b)
	}
	if len(w.held) == maxNumbered {
		return errTooMany
	}
	raw := b.b.FinishNumbered(w.r.topic, w.pid, w.seq+int64(len(w.held)))
	*b.b = batch.Builder{} // the memory is the batch's now
	w.held = append(w.held, heldBatch{raw, *b})
	return nil
}

// send stores a batch.
func (w *writing) send(raw []byte, b *packed) error {
	offset, known, err := w.r.caller.Batch(w.r.Context(), raw)
	if err != nil {
		return err
	}
	s := &w.stored
	if s.Batches == 0 {
		w.first = ident{offset, 0}
	}
	last, next := ident{offset, b.last}.String(), strconv.FormatInt(offset+int64(len(raw)), 10)
	s.Messages += b.messages
	s.Batches++
	s.Bytes, s.Last, s.Next = b.end, &last, &next
	w.news = w.news || !known
	if w.withIDs {
		h, _, _ := batch.Parse(raw) // which is one
		m := batch.Messages{Data: raw[h.Len():]}
		for m.Next() {
			s.IDs = append(s.IDs, ident{offset, m.Delta()})
		}
	}
	return nil
}

// finish completes what is told of what is stored.
func (w *writing) finish() {
	s := &w.stored
	s.Topic = w.r.topic
	if s.Batches > 0 {
		first := w.first.String()
		s.First = &first
		s.Duplicate = !w.news
	}
	if w.own {
		next := w.seq + s.Batches
		s.NextSeq = &next
	}
}

// failed returns the problem of a body that is not stored whole, with what is stored of
// it.
func (w *writing) failed(err error) error {
	p := *problem.From(err)
	if w.stored.Batches > 0 {
		w.finish()
		return p.With("stored", &w.stored)
	}
	return &p
}

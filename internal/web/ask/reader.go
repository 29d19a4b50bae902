package ask

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// Gap is a range of offsets that can't be read any more.
type Gap struct {
	From, To int64
	Cause    Cause
}

// Cause is why there is a gap.
type Cause string

// The causes.
const (
	Retention Cause = "retention" // it was removed
	Damage    Cause = "damage"    // it was set aside
	Lost      Cause = "lost"      // the log is shorter than it was
	Away      Cause = "away"      // it is damaged here and may be had from other members: see Reader.Around
)

// Error implements error.
func (g *Gap) Error() string { return fmt.Sprintf("from %d to %d: %s", g.From, g.To, g.Cause) }

// NotAPlaceError is an offset and a delta at which nothing begins.
type NotAPlaceError struct {
	Place Place
	Next  Place // the first that is right behind it
}

// Error implements error.
func (e *NotAPlaceError) Error() string { return fmt.Sprintf("no message begins at %v", e.Place) }

// BeyondEndError is an offset behind the end of a topic.
type BeyondEndError struct{ Offset, End int64 }

// Error implements error.
func (e *BeyondEndError) Error() string {
	return fmt.Sprintf("%d is behind the end, %d", e.Offset, e.End)
}

// Batch is a batch that was read. It is good until the next call of Next.
type Batch struct {
	Offset, End int64  // End is where the next one begins
	Messages    int64  // how many
	Data        []byte // unpacked
	Time        int64  // when it was appended, in milliseconds since 1970; negative if that is not known
}

// Reader reads a topic, batch by batch, from where it is to where it ends. Batches are
// checked, and unpacked. It is for one goroutine.
type Reader struct {
	// Grow is asked before the memory of the reader becomes as many bytes. Default: it may.
	Grow func(n int64) error
	// Verify has the server look at all that it sends.
	Verify bool
	// Around has what is damaged here, and may come back from other members, be a gap.
	// Default: it is refused as busy, or as another member's, until it is known which.
	Around bool
	// Headers has batches without data: nothing is checked, or unpacked.
	Headers bool

	c     *Caller
	topic string
	at    int64 // where the next batch begins
	conf  *protocol.Settings
	fresh bool

	view   topic.View
	left   int64  // bytes of the view that are not in window
	source source // of the view
	window []byte // what is read of the view and not given away: a part of buf
	buf    []byte
	data   []byte // unpacked
	marks  []protocol.TimeMark
	timed  bool // marks are those of the view
}

// readBytes is how much is asked for with one READ.
const readBytes = 1 << 20

// windowBytes is how much of it is in memory, if no batch is larger.
const windowBytes = 48 << 10

// NewReader returns a reader of a topic that begins at the offset of a batch. conf is what
// CONFIG has said; with fresh it sees all that was acknowledged anywhere before. It is to
// be closed.
func (c *Caller) NewReader(conf *protocol.Settings, topic string, offset int64, fresh bool) *Reader {
	return &Reader{c: c, topic: topic, at: offset, conf: conf, fresh: fresh}
}

// Offset returns where the next batch begins.
func (r *Reader) Offset() int64 { return r.at }

// GoTo has the reader go on at another offset.
func (r *Reader) GoTo(offset int64) {
	r.Close()
	r.at = offset
}

// Close gives back what the reader holds of files. It may be used on.
func (r *Reader) Close() {
	if r.view != nil {
		r.view.Close()
		r.view = nil
	}
	r.window, r.left = nil, 0
}

// Release gives back all memory, too.
func (r *Reader) Release() {
	r.Close()
	r.buf, r.data, r.marks = nil, nil, nil
}

// Buffered reports whether Next has a batch without another request.
func (r *Reader) Buffered() bool { return r.view != nil && (r.left > 0 || len(r.window) > 0) }

// Next returns the next batch. At the end of the topic it waits for one, up to so long,
// and returns io.EOF if there is none. Other errors are a *Gap, a *NotAPlaceError, a
// *BeyondEndError, what Ask returns, and what Grow does.
func (r *Reader) Next(ctx context.Context, wait time.Duration) (Batch, error) {
	if !r.Buffered() {
		if err := r.Fetch(ctx, wait); err != nil {
			return Batch{}, err
		}
	}
	b, err := r.take(ctx)
	if errors.Is(err, errDamaged) && !r.Verify {
		// The server is to find the damage, and to set it aside.
		r.Close()
		r.Verify = true
		defer func() { r.Verify = false }()
		if err = r.Fetch(ctx, 0); err == nil {
			b, err = r.take(ctx)
		}
	}
	if errors.Is(err, errDamaged) {
		err = protocol.ErrInternal
	}
	return b, err
}

// errDamaged is what was sent and is no good batch.
var errDamaged = errors.New("ask: the batch is damaged")

// tries is how often it is looked again for an offset that was not there, since what
// there is has changed meanwhile.
const tries = 5

// Fetch asks for the next batches, which Next has then. It waits, and fails, as Next does.
func (r *Reader) Fetch(ctx context.Context, wait time.Duration) error {
	r.Close()
	req := protocol.Request{
		Command: protocol.Read, Topic: []byte(r.topic), Offset: r.at, Messages: max(r.conf.MaxMessages, 1), MaxBytes: readBytes,
		Waits: wait > 0, Wait: wait, Verify: r.Verify, Fresh: r.fresh,
	}
	for i := 0; ; i++ {
		a, err := r.c.Ask(ctx, &req)
		switch {
		case err == nil && a.View != nil:
			r.view, r.left, r.source, r.timed = a.View, a.View.Len(), source{view: a.View}, false
			return nil
		case err == nil:
			return io.EOF
		case r.Around && isAway(err):
			return r.c.around(ctx, r.topic, r.at, err)
		case !errors.Is(err, protocol.ErrNotFound):
			return err
		}
		if err := r.c.Missing(ctx, r.conf, r.topic, r.at, r.fresh); err != nil || i == tries {
			return err
		}
	}
}

// times finds out when the batches were appended that were read.
func (r *Reader) times(ctx context.Context) error {
	if r.timed || r.Headers {
		return nil
	}
	r.marks, r.timed = r.marks[:0], true
	for from, to := r.at, r.at+int64(len(r.window))+r.left; ; {
		a, err := r.c.Ask(ctx, &protocol.Request{Command: protocol.Times, Topic: []byte(r.topic), Offset: from, To: to})
		if err != nil {
			// They were removed meanwhile. What was read is there all the same.
			return nil
		}
		before := len(r.marks)
		if r.marks, err = protocol.ParseTimes(r.marks, a.Body); err != nil {
			return err
		}
		if n := len(r.marks); n-before < protocol.MaxTimes {
			return nil
		} else {
			from = r.marks[n-1].Offset
			r.marks = r.marks[:n-1]
		}
	}
}

// timeOf returns when the batch at an offset was appended.
func (r *Reader) timeOf(offset int64) int64 {
	i, found := slices.BinarySearchFunc(r.marks, offset, func(m protocol.TimeMark, o int64) int { return int(min(max(m.Offset-o, -1), 1)) })
	if !found {
		i--
	}
	if i < 0 {
		return -1
	}
	return r.marks[i].Millis
}

// Pass passes over what is buffered up to an offset at which a batch begins, and reports
// whether so much is.
func (r *Reader) Pass(to int64) bool {
	if n := to - r.at; n > int64(len(r.window))+r.left {
		return false
	} else {
		r.skip(n)
	}
	return true
}

// take takes the next batch out of what was read.
func (r *Reader) take(ctx context.Context) (Batch, error) {
	if err := r.times(ctx); err != nil {
		return Batch{}, err
	}
	if err := r.fill(min(int64(batch.MaxHeaderLen), int64(len(r.window))+r.left)); err != nil {
		return Batch{}, err
	}
	h, n, err := batch.Parse(r.window)
	if err != nil || n > int64(len(r.window))+r.left {
		return Batch{}, errDamaged
	}
	b := Batch{Offset: r.at, End: r.at + n, Messages: h.Messages, Time: r.timeOf(r.at)}
	if r.Headers {
		r.skip(n)
		return b, nil
	}
	if err := r.fill(n); err != nil {
		return Batch{}, err
	}
	// The window may have moved.
	h, _, _ = batch.Parse(r.window)
	data := r.window[h.Len():n]
	if batch.Check(&h, data) != nil {
		return Batch{}, errDamaged
	}
	if h.Codec != "" {
		if data, err = r.unpack(&h, data); err != nil {
			return Batch{}, err
		}
	}
	b.Data = data
	r.window, r.at = r.window[n:], b.End
	return b, nil
}

// skip passes over a batch of n bytes.
func (r *Reader) skip(n int64) {
	r.at += n
	if in := int64(len(r.window)); n > in {
		r.source.pos += n - in
		r.left -= n - in
		r.window = r.window[:0]
		return
	}
	r.window = r.window[n:]
}

// fill reads on until there are n bytes in the window, which the view has.
func (r *Reader) fill(n int64) error {
	have := int64(len(r.window))
	if have >= n {
		return nil
	}
	if n > int64(cap(r.buf)) {
		size := max(n, min(windowBytes, have+r.left))
		if err := r.grow(size + int64(cap(r.data))); err != nil {
			return err
		}
		buf := make([]byte, size)
		copy(buf, r.window)
		r.buf = buf
	} else {
		copy(r.buf[:cap(r.buf)], r.window)
	}
	more := min(int64(cap(r.buf))-have, r.left)
	r.window = r.buf[:have+more]
	r.left -= more
	if err := r.source.read(r.window[have:]); err != nil {
		return errDamaged
	}
	return nil
}

func (r *Reader) grow(n int64) error {
	if r.Grow == nil {
		return nil
	}
	return r.Grow(n)
}

// unpack returns the data of a compressed batch.
func (r *Reader) unpack(h *batch.Header, packed []byte) ([]byte, error) {
	most := max(r.conf.MaxUncompressedSize, leastUnpacked)
	if err := r.grow(int64(cap(r.buf)) + most); err != nil {
		return nil, err
	}
	u := unpackers.get()
	defer unpackers.put(u)
	data, err := u.Unpack(h.Codec, r.data[:0], packed, h.Messages, int(most))
	if err != nil {
		return nil, errDamaged
	}
	r.data = data
	return data, nil
}

// leastUnpacked is the largest data, unpacked, that is taken if the server takes less from
// writers by now.
const leastUnpacked = 1 << 20

// source reads a view from its beginning.
type source struct {
	view  topic.View
	pos   int64 // in the view
	i     int   // section
	start int64 // where it begins in the view
}

// section returns where the bytes from the position on are, as far as they are in one file.
func (s *source) section() (file io.ReaderAt, pos, n int64) {
	for {
		file, at, n := s.view.Section(s.i)
		if s.pos < s.start+n {
			return file, at + s.pos - s.start, s.start + n - s.pos
		}
		s.start += n
		s.i++
	}
}

// read fills p, which there is enough for.
func (s *source) read(p []byte) error {
	for len(p) > 0 {
		file, pos, n := s.section()
		part := p[:min(int64(len(p)), n)]
		if got, err := file.ReadAt(part, pos); got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF // the file is shorter than it was
			}
			return err
		}
		s.pos += int64(len(part))
		p = p[len(part):]
	}
	return nil
}

// Stored is the batches of a View as they are stored, to be read from its beginning. It is
// an io.Reader whose end comes after a round, of so many bytes as Round says.
type Stored struct {
	Timeout time.Duration // of what sends a round
	// Sendfiles counts calls of sendfile(2) that have sent something of it.
	Sendfiles int64

	source source
	left   int64
	round  int64
}

// NewStored returns what is stored of a View, which stays the caller's to close.
func NewStored(v topic.View, timeout time.Duration) *Stored {
	return &Stored{Timeout: timeout, source: source{view: v}, left: v.Len()}
}

// Round begins the next round, of at most n bytes, and reports whether there is one.
func (s *Stored) Round(n int64) bool {
	s.round = min(n, s.left)
	return s.round > 0
}

// Read implements io.Reader.
func (s *Stored) Read(p []byte) (int, error) {
	if s.round == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.round)]
	if err := s.source.read(p); err != nil {
		return 0, err
	}
	s.took(int64(len(p)))
	return len(p), nil
}

func (s *Stored) took(n int64) { s.left, s.round = s.left-n, s.round-n }

// Send has the rest of the round sent by parts, each of which is n bytes of a file at a
// position. It returns how many bytes were.
func (s *Stored) Send(part func(file io.ReaderAt, pos, n int64) error) (sent int64, err error) {
	for s.round > 0 {
		file, pos, n := s.source.section()
		n = min(n, s.round)
		if err := part(file, pos, n); err != nil {
			return sent, err
		}
		s.source.pos += n
		s.took(n)
		sent += n
	}
	return sent, nil
}

// Missing tells why no batch begins at an offset, by what is known of the topic: io.EOF at
// its end, or the error of it. It returns nil if there is no reason.
func (c *Caller) Missing(ctx context.Context, conf *protocol.Settings, name string, offset int64, fresh bool) error {
	in, err := c.Info(ctx, name, fresh)
	if err != nil {
		return err
	}
	switch {
	case offset < in.Oldest:
		return &Gap{offset, in.Oldest, Retention}
	case offset > in.Next:
		return &BeyondEndError{offset, in.Next}
	case offset == in.Next:
		return io.EOF
	}
	for _, d := range in.DamagedAt {
		if d[0] <= offset && offset < d[1] {
			return &Gap{offset, behind(&in, d[1]), Damage}
		}
	}
	next, err := c.nextBatch(ctx, conf, name, &in, offset)
	if err != nil || next == offset {
		return err
	}
	return &NotAPlaceError{Place{Offset: offset}, Place{Offset: next}}
}

// isAway reports whether that is an answer to who reads what others may have.
func isAway(err error) bool {
	p, ok := errors.AsType[*protocol.Error](err)
	return ok && (p.Reason == protocol.ErrBusy.Reason || p.Status == protocol.ErrNotLeader.Status)
}

// around returns the gap if an offset is damaged, which was refused with err, else err.
func (c *Caller) around(ctx context.Context, name string, offset int64, err error) error {
	in, infoErr := c.Info(ctx, name, false)
	if infoErr != nil {
		return err
	}
	if to := behind(&in, offset); to > offset {
		return &Gap{offset, to, Away}
	}
	return err
}

// behind returns the first offset from one on that is not damaged.
func behind(in *protocol.TopicInfo, offset int64) int64 {
	for _, d := range in.DamagedAt {
		if d[0] <= offset && offset < d[1] {
			offset = d[1]
		}
	}
	return offset
}

// nextBatch returns where the first batch at or behind an offset begins, or the end.
func (c *Caller) nextBatch(ctx context.Context, conf *protocol.Settings, name string, in *protocol.TopicInfo, offset int64) (int64, error) {
	// No further than the longest batch, lest there be many.
	for span := conf.MaxBatchSize + 1; ; span *= 4 {
		to := min(in.Next, offset+span)
		a, err := c.Ask(ctx, &protocol.Request{Command: protocol.Times, Topic: []byte(name), Offset: offset, To: to})
		if err != nil {
			return 0, err
		}
		marks, err := protocol.ParseTimes(nil, a.Body)
		if err != nil {
			return 0, err
		}
		if len(marks) > 0 {
			return marks[0].Offset, nil
		}
		if to == in.Next {
			return to, nil
		}
	}
}

// unpackPool has unpackers for a few at a time.
type unpackPool chan *codec.Unpacker

// unpackers are as many as can be at work at once.
var unpackers = newUnpackPool()

func (p unpackPool) get() *codec.Unpacker  { return <-p }
func (p unpackPool) put(u *codec.Unpacker) { p <- u }

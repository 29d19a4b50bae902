package cluster

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/topic"
)

// View is bytes of a topic: see topic.View.
type View = topic.View

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errBytes is bytes that are not what the entry says.
var errBytes = errors.New("cluster: bytes are not those of the run")

// runBody is the bytes of a run, and the batches in them.
type runBody struct {
	data    []byte
	extents []batch.Extent
}

// splitBodies gives each entry of a message the bytes of its runs, in order, and checks
// that they are what the runs say.
func splitBodies(m *pb.Message, bytes []byte) (bodies []group.Body, err error) {
	if m.GetType() != pb.MsgApp {
		return nil, nil
	}
	bodies = make([]group.Body, len(m.GetEntries()))
	for i, p := range m.GetEntries() {
		if p.GetType() != pb.EntryNormal || len(p.GetData()) == 0 {
			continue
		}
		d, err := entry.Decode(p.GetData())
		if err != nil {
			return nil, err
		}
		r, ok := d.(*entry.Round)
		if !ok {
			continue
		}
		body := make([]runBody, len(r.Runs))
		for k := range r.Runs {
			run := &r.Runs[k]
			if int64(len(bytes)) < int64(run.Bytes) {
				return nil, fmt.Errorf("%w: %d for %d", errBytes, len(bytes), run.Bytes)
			}
			data := bytes[:run.Bytes:run.Bytes]
			bytes = bytes[run.Bytes:]
			if crc32.Checksum(data, castagnoli) != run.CRC {
				return nil, fmt.Errorf("%w: checksum", errBytes)
			}
			if body[k], err = parseRun(data); err != nil {
				return nil, err
			}
		}
		bodies[i] = body
	}
	if len(bytes) > 0 {
		return nil, fmt.Errorf("%w: %d more", errBytes, len(bytes))
	}
	return bodies, nil
}

// parseRun finds the batches in the bytes of a run.
func parseRun(data []byte) (runBody, error) {
	b := runBody{data: data}
	for pos := 0; pos < len(data); {
		h, n, err := batch.Parse(data[pos:])
		if err != nil || n > int64(len(data)-pos) {
			return b, fmt.Errorf("%w: no batch at byte %d", errBytes, pos)
		}
		b.extents = append(b.extents, batch.Extent{Len: n, Messages: int32(h.Messages), Numbered: h.Seq > 0})
		pos += int(n)
	}
	return b, nil
}

// check checks that each batch is whole, and of a topic.
func (b *runBody) check(topic string) error {
	pos := int64(0)
	for i := range b.extents {
		raw := b.data[pos : pos+b.extents[i].Len]
		h, n, err := batch.Parse(raw)
		if err == nil && string(h.Topic) != topic {
			err = errors.New("of another topic")
		}
		if err == nil {
			err = batch.Check(&h, raw[n-h.Size:])
		}
		if err != nil {
			return fmt.Errorf("%w: at byte %d: %w", errBytes, pos, err)
		}
		pos += b.extents[i].Len
	}
	return nil
}

// ReadViews appends the bytes of views, and closes them.
func ReadViews(dst []byte, views []View) ([]byte, error) {
	var err error
	for _, v := range views {
		for i := range v.Sections() {
			r, pos, n := v.Section(i)
			at := len(dst)
			dst = append(dst, make([]byte, n)...)
			if k, rerr := r.ReadAt(dst[at:], pos); k < int(n) && err == nil {
				if err = rerr; err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
			}
		}
		v.Close()
	}
	return dst, err
}

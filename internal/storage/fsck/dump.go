package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// DumpOptions are the settings of a dump. FS and File are required.
type DumpOptions struct {
	FS   vfs.FS // of the work directory
	File string // the partition's name in it: <topic>/<base>.log
	// Topic is the topic of the batches. If empty it is that of the first
	// envelope, or else the name of the file's folder.
	Topic string
	// Offset is where to begin: with the first batch at or after it.
	Offset int64
	// Limit bounds the batches; 0 for all.
	Limit int64
}

// Dumped is a place of a partition: a batch, or bytes that are none.
type Dumped struct {
	Topic            string
	Offset, Position int64
	Length           int64

	// Of a batch; it is valid.
	Messages int64
	CRC      uint32
	Time     time.Time // when it was appended, as far as the index knows; or zero
	// Of a compressed batch: its codec, the sizes of its data as it is stored and
	// unpacked, and why it can't be unpacked, nil if it can.
	Codec          string
	Size, Unpacked int64
	Content        error
	data           []byte

	// Of bytes that are no batch: what is wrong with them. Empty for a batch.
	Damage string
}

// Bodies returns the batch's messages, as delta and body. It is good until the
// function that was given d returns; so are the bodies.
func (d *Dumped) Bodies() iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		m := batch.Messages{Data: d.data}
		for m.Next() {
			if !yield(m.Delta(), m.Body()) {
				return
			}
		}
	}
}

// errLimit ends a dump.
var errLimit = errors.New("limit reached")

// Dump calls show for every batch of a partition file and every range that is
// none, in order. It stops at the first error, also of show. It changes
// nothing, and works on a copy of a partition anywhere; a file whose name is no
// offset is taken to begin at offset 0.
//
// Where the file is in a work directory with a lock file, that is locked
// meanwhile: the error wraps vfs.ErrLocked if a server has it.
func Dump(ctx context.Context, o DumpOptions, show func(*Dumped) error) error {
	unlock, err := layout.LockToRead(o.FS)
	if err != nil {
		return err
	}
	err = dump(ctx, &o, show)
	if errors.Is(err, errLimit) {
		err = nil
	}
	return errors.Join(err, unlock())
}

func dump(ctx context.Context, o *DumpOptions, show func(*Dumped) error) error {
	v := newSurveyor(ctx, o.FS)
	f, err := v.open(o.File)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: o.File, Err: errors.New("not a regular file")}
	}
	base, _ := layout.Base(path.Base(o.File))
	d := &dumper{o: o, show: show, base: base, shown: max(o.Offset-base, 0)}
	d.sc = &scan.Scanner{File: f, Size: st.Size(), Synced: st.Size(), Topic: o.Topic}
	if o.Topic == "" {
		if err := d.guessTopic(); err != nil {
			return err
		}
	}
	d.index = d.openIndex()
	defer d.index.Close()
	found, err := d.sc.Scan(0, d.batch)
	if err != nil {
		return err
	}
	return d.damage(found.Valid, st.Size())
}

type dumper struct {
	o     *DumpOptions
	show  func(*Dumped) error
	base  int64
	sc    *scan.Scanner
	index *index.Reader

	pos   int64 // after what was walked over
	shown int64 // what begins before is not shown
	count int64

	unpacker codec.Unpacker
	unpacked []byte
}

// guessTopic takes the topic from the first envelope.
func (d *dumper) guessTopic() error {
	d.sc.Topic = path.Base(layout.TopicOf(path.Dir(d.o.File)))
	b, err := d.sc.Bytes(0, min(d.sc.Size, int64(batch.MaxHeaderLen)))
	if err != nil {
		return err
	}
	if h, _, err := batch.Parse(b); err == nil {
		d.sc.Topic = string(h.Topic)
	}
	return nil
}

// openIndex opens the index that goes with the partition, for its times.
func (d *dumper) openIndex() *index.Reader {
	folder := path.Dir(d.o.File)
	b, err := journal.Read(d.o.FS, folder)
	if err != nil {
		return &index.Reader{}
	}
	state, _, _ := journal.Decode(b)
	if state.ID == (journal.ID{}) {
		return &index.Reader{}
	}
	return index.OpenReader(d.o.FS, layout.Index(folder, d.base), state.ID, d.base, d.sc.Size)
}

func (d *dumper) batch(pos int64, h *batch.Header, n int64, _ bool) error {
	if err := d.damage(d.pos, pos); err != nil {
		return err
	}
	d.pos = pos + n
	if pos < d.shown {
		return nil
	}
	if d.o.Limit > 0 && d.count == d.o.Limit {
		return errLimit
	}
	d.count++
	shown := Dumped{
		Topic: d.sc.Topic, Offset: d.base + pos, Position: pos, Length: n, Messages: h.Messages, CRC: h.CRC,
		Time: d.index.TimeAt(pos), Codec: h.Codec, Size: h.Size,
	}
	b, err := d.sc.Bytes(pos, n)
	if err != nil {
		return err
	}
	shown.data = b[n-shown.Size:]
	if shown.Codec != "" {
		d.unpacked, shown.Content = d.unpacker.Unpack(shown.Codec, d.unpacked[:0], shown.data, shown.Messages, maxUnpacked)
		shown.data, shown.Unpacked = d.unpacked, int64(len(d.unpacked))
	}
	return d.show(&shown)
}

// damage shows the bytes between two batches.
func (d *dumper) damage(from, to int64) error {
	if from >= to || to <= d.shown {
		return nil
	}
	if d.o.Limit > 0 && d.count == d.o.Limit {
		return errLimit
	}
	why, err := whyDamaged(d.sc, layout.Range{From: from, To: to})
	if err != nil {
		return fmt.Errorf("position %d: %w", from, err)
	}
	return d.show(&Dumped{Topic: d.sc.Topic, Offset: d.base + from, Position: from, Length: to - from, Damage: why})
}

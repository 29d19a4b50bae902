package backlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/logd-dev/logd/internal/durable"
)

// compact replaces the file by one without what was delivered. Caller holds
// io; the record in buf stays there.
func (b *Disk) compact() error {
	return b.replace(func(f *os.File) ([]keptRecord, error) {
		for i := range b.kept {
			from := io.NewSectionReader(b.file, b.kept[i].pos, b.kept[i].len())
			if n, err := io.Copy(f, from); err != nil {
				return nil, err
			} else if n != b.kept[i].len() {
				return nil, io.ErrUnexpectedEOF
			}
		}
		return slices.Clone(b.kept), nil
	})
}

// replace replaces the file by one with the records that are written there, which are
// kept from then on. Caller holds io.
func (b *Disk) replace(records func(*os.File) ([]keptRecord, error)) error {
	if b.broken != nil {
		return b.broken
	}
	if b.file == nil {
		return ErrClosed
	}
	var kept []keptRecord
	file, err := b.create(func(f *os.File) (err error) {
		kept, err = records(f)
		return err
	}, false)
	if err != nil {
		return err
	}
	durable.CloseLocked(b.file)
	b.file, b.size = file, int64(len(backlogName+backlogVersion))
	b.mu.Lock()
	b.kept, b.keptBytes, b.batches = kept, 0, 0
	for i := range kept {
		kept[i].pos = b.size
		b.size += kept[i].len()
		b.keptBytes += kept[i].len()
		b.batches += kept[i].batchLen
		b.seq = max(b.seq, kept[i].seq)
	}
	b.mu.Unlock()
	if err := durable.SyncFolder(b.cfg.Path); err != nil {
		return b.breaks(err)
	}
	return nil
}

// Rewrite replaces each batch by those that remake returns for it, in their order: it stays
// if they are nil. All of them get new numbers. It is for a Writer whose batches are too large
// for the topic by now. A crash leaves the old batches or the new ones, never some of both.
// With an error nothing has changed, but it may be that the file takes no more.
func (b *Disk) Rewrite(remake func(raw []byte) (pieces [][]byte)) error {
	b.io.Lock()
	defer b.io.Unlock()
	err := b.replace(func(f *os.File) (kept []keptRecord, err error) {
		seq, size := b.seq, int64(len(backlogName+backlogVersion))
		for i := range b.kept {
			rec, err := b.read(i, nil)
			if err != nil {
				return nil, err
			}
			e, err := rec.entry()
			if err != nil {
				return nil, err
			}
			for _, piece := range e.remade(remake) {
				seq++
				b.buf = appendBatchRecord(b.buf[:0], seq, &piece)
				h, _ := parseRecordHeader(b.buf)
				kept = append(kept, keptRecord{recordHeader: h, messages: piece.Messages})
				// Each needs room for the record of its delivery, too.
				if size += h.len() + recordHeaderLen; size > b.cfg.MaxBytes {
					return nil, fmt.Errorf("%w: smaller batches take more than %d bytes", ErrFull, b.cfg.MaxBytes)
				}
				if _, err := f.Write(b.buf); err != nil {
					return nil, err
				}
			}
		}
		return kept, nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
	}
	return err
}

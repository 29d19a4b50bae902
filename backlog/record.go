package backlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// A Disk's file is a line that names the format and its version, and
// records. A record is a header, big-endian, and for a batch what follows it:
//
//	offset  bytes  field
//	     0      4  magic, "LBkR"
//	     4      1  kind: 1 a batch, 2 a batch was delivered
//	     5      1  flags: 1 the batch may be stored all the same
//	     6      2  length of the reason, 0 for kind 2
//	     8      8  number of the batch: each is greater than those before
//	    16      8  time, milliseconds since 1970
//	    24      4  length of the batch, 0 for kind 2
//	    28      4  CRC-32C of reason and batch
//	    32      4  CRC-32C of the bytes 0 to 31
//	    36         reason, batch (envelope and data)
//
// Records are only appended. A crash leaves the last one torn at most. Bytes
// that do not check are torn if no header of a record follows, and damage if one
// does. The header has its own checksum: if it is whole, its length says where
// the next record would begin, and the bytes before that place, which are a
// batch's and may look like a record, prove nothing.
const (
	backlogName    = "logd backlog "
	backlogVersion = "1\r\n"
	backlogMagic   = "LBkR"

	recordHeaderLen = 36
	recordBatch     = 1
	recordDelivered = 2
	flagUnknown     = 1

	// maxReason is how much of a reason is kept.
	maxReason = 2 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordHeader is a record's header, apart from its checksums.
type recordHeader struct {
	kind      byte
	unknown   bool
	reasonLen int
	seq       int64
	millis    int64
	batchLen  int64
	crc       uint32
}

// len returns the length of the whole record.
func (h *recordHeader) len() int64 { return recordHeaderLen + int64(h.reasonLen) + h.batchLen }

// appendBatchRecord appends the record of a batch.
func appendBatchRecord(dst []byte, seq int64, e *Entry) []byte {
	reason := e.Reason[:min(len(e.Reason), maxReason)]
	crc := crc32.Update(crc32.Checksum([]byte(reason), castagnoli), castagnoli, e.Raw)
	dst = appendRecordHeader(dst, &recordHeader{
		kind: recordBatch, unknown: e.Unknown, reasonLen: len(reason), seq: seq,
		millis: e.Time.UnixMilli(), batchLen: int64(len(e.Raw)), crc: crc,
	})
	dst = append(dst, reason...)
	return append(dst, e.Raw...)
}

// appendDeliveredRecord appends the record that the batch was delivered.
func appendDeliveredRecord(dst []byte, seq int64, at time.Time) []byte {
	return appendRecordHeader(dst, &recordHeader{kind: recordDelivered, seq: seq, millis: at.UnixMilli()})
}

func appendRecordHeader(dst []byte, h *recordHeader) []byte {
	start := len(dst)
	var flags byte
	if h.unknown {
		flags = flagUnknown
	}
	dst = append(dst, backlogMagic...)
	dst = append(dst, h.kind, flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.reasonLen))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.seq))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.millis))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.batchLen))
	dst = binary.BigEndian.AppendUint32(dst, h.crc)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseRecordHeader parses the header that p begins with.
func parseRecordHeader(p []byte) (h recordHeader, ok bool) {
	if len(p) < recordHeaderLen || string(p[:4]) != backlogMagic ||
		crc32.Checksum(p[:32], castagnoli) != binary.BigEndian.Uint32(p[32:]) {
		return h, false
	}
	h = recordHeader{
		kind:      p[4],
		unknown:   p[5] == flagUnknown,
		reasonLen: int(binary.BigEndian.Uint16(p[6:])),
		seq:       int64(binary.BigEndian.Uint64(p[8:])),
		millis:    int64(binary.BigEndian.Uint64(p[16:])),
		batchLen:  int64(binary.BigEndian.Uint32(p[24:])),
		crc:       binary.BigEndian.Uint32(p[28:]),
	}
	switch {
	case h.seq < 1 || p[5] > flagUnknown:
		return h, false
	case h.kind == recordDelivered:
		return h, h.len() == recordHeaderLen && !h.unknown
	default:
		return h, h.kind == recordBatch && h.batchLen > 0
	}
}

// keptRecord is where a batch that is not delivered stands in the file.
type keptRecord struct {
	recordHeader
	pos      int64
	messages int64
}

// fileScan is what a file holds.
type fileScan struct {
	kept  []keptRecord // not delivered, oldest first
	topic string       // of all batches
	seq   int64        // the last number
	end   int64        // where the records end; what is behind is torn
}

// scanFile reads a backlog's file of the size. The error is
// ErrVersion or ErrDamaged for a file that must not be used, or
// one of reading.
func scanFile(r io.ReaderAt, size int64) (*fileScan, error) {
	name := make([]byte, len(backlogName)+len(backlogVersion))
	if _, err := r.ReadAt(name[:min(int64(len(name)), size)], 0); err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case size < int64(len(name)) || !bytes.HasPrefix(name, []byte(backlogName)):
		return nil, fmt.Errorf("%w: it begins with %q, which is none of a backlog", ErrDamaged, name[:min(int64(len(name)), size)])
	case string(name[len(backlogName):]) != backlogVersion:
		return nil, fmt.Errorf("%w: %q", ErrVersion, name)
	}
	s := &fileScan{end: int64(len(name))}
	var buf []byte
	for s.end < size {
		rec, err := readRecord(r, s.end, size, buf)
		if errors.Is(err, errRecord) {
			from := s.end + 1
			if rec.kind != 0 {
				from = s.end + rec.len()
			}
			return s, s.torn(r, from, size, err)
		} else if err != nil {
			return nil, err
		}
		if err := s.add(rec); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		buf = rec.buf
		s.end += rec.len()
	}
	return s, nil
}

// errRecord is bytes that are no record.
var errRecord = errors.New("no record")

// record is a record that was read.
type record struct {
	keptRecord
	buf []byte // what follows the header
}

// readRecord reads the record at pos. The error is errRecord if there is none
// that checks and ends within size; the record then has a kind if its header is
// whole. It uses buf's memory, and takes no more
// than there is left of the file.
func readRecord(r io.ReaderAt, pos, size int64, buf []byte) (record, error) {
	rec := record{keptRecord: keptRecord{pos: pos}, buf: buf}
	var head [recordHeaderLen]byte
	if size-pos < recordHeaderLen {
		return rec, fmt.Errorf("%w at %d: %d bytes are left", errRecord, pos, size-pos)
	}
	if err := readFull(r, head[:], pos); err != nil {
		return rec, err
	}
	var ok bool
	if rec.recordHeader, ok = parseRecordHeader(head[:]); !ok {
		rec.recordHeader = recordHeader{}
		return rec, fmt.Errorf("%w at %d: its header is not valid", errRecord, pos)
	}
	if rec.len() > size-pos {
		return rec, fmt.Errorf("%w at %d: it would have %d bytes, %d are left", errRecord, pos, rec.len(), size-pos)
	}
	n := int(rec.len() - recordHeaderLen)
	if cap(rec.buf) < n {
		rec.buf = make([]byte, n)
	}
	rec.buf = rec.buf[:n]
	if err := readFull(r, rec.buf, pos+recordHeaderLen); err != nil {
		return rec, err
	}
	if crc32.Checksum(rec.buf, castagnoli) != rec.crc {
		return rec, fmt.Errorf("%w at %d: its checksum does not match", errRecord, pos)
	}
	return rec, nil
}

// entry returns the batch that the record holds. It aliases the record.
func (rec *record) entry() (Entry, error) {
	raw := rec.buf[rec.reasonLen:]
	h, n, err := batch.Parse(raw)
	if err == nil && n != int64(len(raw)) {
		err = batch.ErrHeader
	}
	if err == nil {
		err = batch.Check(&h, raw[h.Len():])
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%w at %d: %w", errRecord, rec.pos, err)
	}
	return Entry{
		Raw: raw, Messages: h.Messages, Reason: string(rec.buf[:rec.reasonLen]),
		Unknown: rec.unknown, Time: time.UnixMilli(rec.millis),
	}, nil
}

func readFull(r io.ReaderAt, p []byte, pos int64) error {
	n, err := r.ReadAt(p, pos)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF // the file became shorter meanwhile
	}
	return err
}

// add takes the next record.
func (s *fileScan) add(rec record) error {
	if rec.kind == recordDelivered {
		for i := range s.kept {
			if s.kept[i].seq == rec.seq {
				s.kept = without(s.kept, i)
				return nil
			}
		}
		return fmt.Errorf("%w at %d: batch %d is delivered, and was not there", errRecord, rec.pos, rec.seq)
	}
	if rec.seq <= s.seq {
		return fmt.Errorf("%w at %d: batch %d follows batch %d", errRecord, rec.pos, rec.seq, s.seq)
	}
	e, err := rec.entry()
	if err != nil {
		return err
	}
	topic := topicOf(e.Raw)
	if s.topic == "" {
		s.topic = topic
	} else if s.topic != topic {
		return fmt.Errorf("%w at %d: a batch of topic %q behind those of %q", errRecord, rec.pos, topic, s.topic)
	}
	s.seq = rec.seq
	rec.messages = e.Messages
	s.kept = append(s.kept, rec.keptRecord)
	return nil
}

// torn returns nil if what is behind the records is the torn end of the last
// one, and otherwise the error for a damaged file. From is where the next record
// may begin.
func (s *fileScan) torn(r io.ReaderAt, from, size int64, cause error) error {
	const window = 64 << 10
	buf := make([]byte, window+recordHeaderLen-1)
	for pos := from; pos < size; pos += window {
		p := buf[:min(int64(len(buf)), size-pos)]
		if err := readFull(r, p, pos); err != nil {
			return err
		}
		for at := 0; ; at++ {
			i := bytes.Index(p[at:], []byte(backlogMagic))
			if i < 0 {
				break
			}
			at += i
			if h, ok := parseRecordHeader(p[at:]); ok && (h.seq > s.seq || h.kind == recordDelivered) {
				return fmt.Errorf("%w: %w, and one follows at %d", ErrDamaged, cause, pos+int64(at))
			}
		}
	}
	return nil
}

package storage

import (
	"bytes"
	"io"

	"github.com/logd-dev/logd/internal/batch"
)

// scanner walks the batches of a partition file, checking every byte.
type scanner struct {
	f     io.ReaderAt
	size  int64 // where the file ends, or where it is to be taken as ended
	topic string

	// buf holds the file's bytes from start on.
	buf   []byte
	start int64
}

// scanChunk is how much is read at a time. A batch that is larger is read
// whole.
const scanChunk = 1 << 20

// batchPrefix is how every batch begins.
const batchPrefix = "BATCH "

// scanned is what a scan found.
type scanned struct {
	// valid is the position after the last valid batch, or where the scan
	// began if there is none.
	valid int64
	// damaged are the positions of bytes between valid batches, or before the
	// first, that are no batches. What follows valid is not among them.
	damaged []byteRange
	// scanned is how many bytes were looked at.
	scanned int64
}

// scan walks from position from to the end and calls visit for every valid
// batch, in order, telling whether it follows the one before without a gap.
func (s *scanner) scan(from int64, visit func(pos int64, h *batch.Header, n int64, gap bool) error) (scanned, error) {
	result := scanned{valid: from, scanned: s.size - from}
	gap := false
	for pos := from; pos < s.size; {
		h, n, ok, err := s.batchAt(pos)
		if err != nil {
			return result, err
		}
		if !ok {
			next, err := s.resync(pos)
			if err != nil || next < 0 {
				return result, err
			}
			result.damaged = joinRanges(result.damaged, byteRange{pos, next})
			pos, gap = next, true
			continue
		}
		if err := visit(pos, &h, n, gap); err != nil {
			return result, err
		}
		gap = false
		pos += n
		result.valid = pos
	}
	return result, nil
}

// batchAt reads the batch at pos and reports whether it is whole, valid and of
// this topic. The header aliases the scanner's buffer.
func (s *scanner) batchAt(pos int64) (h batch.Header, n int64, ok bool, err error) {
	h, n, ok, err = s.headerAt(pos)
	if err != nil || !ok {
		return h, n, false, err
	}
	b, err := s.bytes(pos, n)
	if err != nil {
		return h, n, false, err
	}
	h, _, _ = batch.Parse(b) // again: the buffer may have moved
	return h, n, batch.Check(&h, b[n-h.Size:]) == nil, nil
}

// headerAt reports whether an envelope of this topic stands at pos and its
// batch ends within the file.
func (s *scanner) headerAt(pos int64) (h batch.Header, n int64, ok bool, err error) {
	b, err := s.bytes(pos, min(int64(batch.MaxHeaderLen), s.size-pos))
	if err != nil {
		return h, 0, false, err
	}
	h, n, perr := batch.Parse(b)
	return h, n, perr == nil && n <= s.size-pos && string(h.Topic) == s.topic, nil
}

// resync returns the position of the first valid batch after pos, where there
// is none, or -1.
//
// If there is still an envelope at pos, the batch that it promises is skipped
// first: then what is inside it is not taken for batches of the log, and a
// message body may well contain one. Where the envelope is destroyed, a batch
// counts only if what follows it can't be the end of the message that encloses
// it.
func (s *scanner) resync(pos int64) (int64, error) {
	if _, n, ok, err := s.headerAt(pos); err != nil {
		return 0, err
	} else if ok {
		if _, _, ok, err := s.batchAt(pos + n); err != nil {
			return 0, err
		} else if ok {
			return pos + n, nil
		}
	}
	for at := pos + 1; at < s.size; {
		window, err := s.bytes(at, min(scanChunk, s.size-at))
		if err != nil {
			return 0, err
		}
		i := bytes.Index(window, []byte(batchPrefix))
		if i < 0 {
			// The prefix may begin in the window's last bytes.
			at += int64(max(len(window)-len(batchPrefix)+1, 1))
			continue
		}
		at += int64(i)
		_, n, ok, err := s.batchAt(at)
		if err != nil {
			return 0, err
		}
		if ok {
			after, err := s.bytes(at+n, min(int64(len("\r\n")), s.size-at-n))
			if err != nil {
				return 0, err
			}
			if string(after) != "\r\n" {
				return at, nil
			}
		}
		at++
	}
	return -1, nil
}

// bytes returns the n bytes at pos, which must lie within the file. They are
// good until the next call.
func (s *scanner) bytes(pos, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	if pos < s.start || pos+n > s.start+int64(len(s.buf)) {
		want := min(max(n, scanChunk), s.size-pos)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf = s.buf[:want]
		s.start = pos
		if err := readFull(s.f, s.buf, pos); err != nil {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	return s.buf[pos-s.start:][:n], nil
}

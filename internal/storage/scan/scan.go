// Package scan finds the batches in a partition file, whatever has happened to
// the file.
//
// A [Scanner] checks every byte. Where there is no valid batch it looks for the
// next one of the log, and takes none for one that only stands in a message: a
// body may hold whole valid batches of the very topic. It says which positions
// are damaged; what that means is for others to decide. A file that is whole is
// read once, and never more than a chunk of it is in memory, whatever an envelope
// claims.
package scan

import (
	"bytes"
	"hash/crc32"
	"io"
	"math"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Scanner walks the batches of a partition file, checking every byte.
type Scanner struct {
	File  io.ReaderAt
	Size  int64 // where the file ends, or where it is to be taken as ended
	Topic string

	// Synced is the position up to which the file is known to have been whole
	// once: what is invalid before it was not torn by a crash.
	Synced int64
	// Aside are ranges of positions that were found damaged before, in order.
	// They stay set aside, whatever stands in them.
	Aside []layout.Range

	// Buf holds the file's bytes from start on. Whoever scans one file after
	// another gives it from one Scanner to the next, emptied.
	Buf   []byte
	start int64
}

// Chunk is how much is read at a time.
const Chunk = 1 << 20

// Result is what a scan found.
type Result struct {
	// Valid is the position after the last valid batch, or where the scan
	// began if there is none.
	Valid int64
	// Tail is where the bytes at the end begin that are no batches and were not
	// set aside before.
	Tail int64
	// Damaged are the positions of bytes between valid batches, or before the
	// first, that are no batches. What follows Valid is not among them.
	Damaged []layout.Range
	// Scanned is how many bytes were looked at.
	Scanned int64
}

// Scan walks from position from to the end and calls visit for every valid
// batch, in order, telling whether it follows the one before without a gap.
func (s *Scanner) Scan(from int64, visit func(pos int64, h *batch.Header, n int64, gap bool) error) (result Result, err error) {
	result = Result{Valid: from, Scanned: s.Size - from}
	defer func() { result.Tail = min(s.asideTo(result.Valid), s.Size) }()
	for pos := from; pos < s.Size; {
		if to := s.asideTo(pos); to > pos {
			pos = to
			continue
		}
		h, n, ok, err := s.BatchAt(pos)
		if err != nil {
			return result, err
		}
		if !ok {
			if pos, err = s.resync(pos); err != nil || pos < 0 {
				return result, err
			}
			continue
		}
		gap := pos > result.Valid
		if gap {
			result.Damaged = append(result.Damaged, layout.Range{From: result.Valid, To: pos})
		}
		if err := visit(pos, &h, n, gap); err != nil {
			return result, err
		}
		pos += n
		result.Valid = pos
	}
	return result, nil
}

// asideTo returns where the range that pos lies in ends, or pos.
func (s *Scanner) asideTo(pos int64) int64 {
	for _, r := range s.Aside {
		if r.From <= pos && pos < r.To {
			return r.To
		}
	}
	return pos
}

// BatchAt reads the batch at pos and reports whether it is whole, valid and of
// this topic. Nothing of the header aliases the scanner's buffer but its topic and its pid.
func (s *Scanner) BatchAt(pos int64) (h batch.Header, n int64, ok bool, err error) {
	h, n, ok, err = s.HeaderAt(pos)
	if err != nil || !ok {
		return h, n, false, err
	}
	ok, err = s.Holds(pos+n-h.Size, &h)
	return h, n, ok, err
}

// Holds reports whether what stands at pos, within the file, is the data that
// the envelope announces. How large that is claimed to be decides neither the memory that
// is taken nor, of a batch that is not compressed, what is read while the framing is wrong.
func (s *Scanner) Holds(pos int64, h *batch.Header) (bool, error) {
	if h.Size <= Chunk {
		b, err := s.Bytes(pos, h.Size)
		return err == nil && batch.Check(h, b) == nil, err
	}
	end := pos + h.Size
	at, messages := pos, int64(0)
	for ; at < end && h.Codec == ""; messages++ {
		var ok bool
		var err error
		if at, ok, err = s.skipMessage(at, end); err != nil || !ok {
			return false, err
		}
	}
	if messages != h.Messages && h.Codec == "" {
		return false, nil
	}
	sum, err := s.Checksum(pos, end)
	return err == nil && sum == h.CRC, err
}

// Checksum returns the CRC-32 of a range of the file.
func (s *Scanner) Checksum(pos, end int64) (sum uint32, err error) {
	for pos < end {
		b, err := s.Bytes(pos, min(end-pos, Chunk))
		if err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, crc32.IEEETable, b)
		pos += int64(len(b))
	}
	return sum, nil
}

// HeaderAt reports whether an envelope of this topic stands at pos and its
// batch ends within the file.
func (s *Scanner) HeaderAt(pos int64) (h batch.Header, n int64, ok bool, err error) {
	b, err := s.Bytes(pos, min(int64(batch.MaxHeaderLen), s.Size-pos))
	if err != nil {
		return h, 0, false, err
	}
	h, n, perr := batch.Parse(b)
	return h, n, perr == nil && n <= s.Size-pos && string(h.Topic) == s.Topic, nil
}

// ForeignAt reports whether a whole valid batch of another topic stands at pos.
// No crash makes one of an append to this topic.
func (s *Scanner) ForeignAt(pos int64) (bool, error) {
	b, err := s.Bytes(pos, min(int64(batch.MaxHeaderLen), s.Size-pos))
	if err != nil {
		return false, err
	}
	h, n, err := batch.Parse(b)
	if err != nil || n > s.Size-pos || string(h.Topic) == s.Topic {
		return false, nil
	}
	return s.Holds(pos+n-h.Size, &h)
}

// resync returns where to go on after pos, where there is no valid batch: at
// the next batch of the log, valid or not, as far as that can be told, or -1
// if there is none.
//
// A message body may contain whole valid batches of this very topic, put there
// by whoever writes to it, and they must not be taken for batches of the log.
// So the framing is followed as far as it has survived: an envelope at pos
// whose batch ends where another begins, or where the file does, is skipped
// as a whole; otherwise its messages are skipped as long as they are well
// formed. Below synced, where no crash has torn anything, that is done for the
// messages behind a destroyed envelope, too, and what they lead to is taken.
// A compressed batch has no framing to follow. Only then is the next batch looked for by its first word, see
// [Scanner.search].
func (s *Scanner) resync(pos int64) (int64, error) {
	start, cut, packed := pos, false, false
	end, ok, err := s.envelopeAt(pos)
	if err != nil {
		return 0, err
	}
	if ok {
		if end == s.Size {
			return -1, nil
		}
		if _, ok, err := s.envelopeAt(end); err != nil {
			return 0, err
		} else if ok {
			return end, nil
		}
		var from int64
		if from, packed, err = s.skipMessages(pos, end); err != nil || from < 0 {
			return from, err
		}
		if cut, err = s.cutAt(start); err != nil {
			return 0, err
		}
		pos = from
	}
	if pos >= s.Synced || packed { // what stands right behind such an envelope is no batch's
		return s.search(max(pos, start+1), cut)
	}
	for {
		if _, ok, err := s.envelopeAt(pos); err != nil || (ok && pos > start) {
			return pos, err
		}
		next, err := s.skipLost(pos)
		if err != nil {
			return 0, err
		}
		if next == pos {
			break
		}
		pos = next
	}
	return s.search(max(pos, start+1), cut)
}

// skipLost returns the position after the messages of the batch at pos, whose
// envelope is destroyed: as far as they are well formed, and pos if there are
// none. Of the envelope's line one byte of the end has to be there.
func (s *Scanner) skipLost(pos int64) (int64, error) {
	b, err := s.Bytes(pos, min(int64(batch.MaxHeaderLen), s.Size-pos))
	if err != nil {
		return 0, err
	}
	end := bytes.IndexAny(b, "\r\n")
	if end < 0 || bytes.LastIndex(b[:end], []byte(batch.Prefix)) > 0 {
		return pos, nil // the line is another batch's
	}
	if end++; end < len(b) && !bytes.HasPrefix(b[end:], []byte(batch.MessagePrefix)) {
		end++
	}
	from := pos
	for at := pos + int64(end); at < s.Size; {
		next, ok, err := s.skipMessage(at, s.Size)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		at, from = next, next
	}
	return from, nil
}

// skipMessage returns the position after the message at pos, and false if there
// is none that is well formed and ends at or before end.
func (s *Scanner) skipMessage(pos, end int64) (next int64, ok bool, err error) {
	body, size, ok, err := s.messageAt(pos)
	if err != nil || !ok || size > end-body-int64(len("\r\n")) {
		return 0, false, err
	}
	b, err := s.Bytes(body+size, int64(len("\r\n")))
	return body + size + int64(len("\r\n")), err == nil && string(b) == "\r\n", err
}

// messageAt reads the line of the message at pos: where its body begins and
// how long that is.
func (s *Scanner) messageAt(pos int64) (body, size int64, ok bool, err error) {
	b, err := s.Bytes(pos, min(int64(batch.MaxMessageLine), s.Size-pos))
	if err != nil {
		return 0, 0, false, err
	}
	n, size, ok := batch.MessageLine(b)
	return pos + int64(n), size, ok, nil
}

// envelopeAt reports whether an envelope of this topic stands at pos, and
// where its batch would end, perhaps beyond the file.
func (s *Scanner) envelopeAt(pos int64) (end int64, ok bool, err error) {
	if pos >= s.Size {
		return 0, false, nil
	}
	b, err := s.Bytes(pos, min(int64(batch.MaxHeaderLen), s.Size-pos))
	if err != nil {
		return 0, false, err
	}
	h, n, perr := batch.Parse(b)
	if perr != nil || string(h.Topic) != s.Topic || n > math.MaxInt64-pos {
		return 0, false, nil
	}
	return pos + n, true, nil
}

// skipMessages returns the position from which to look for what follows the
// invalid batch at pos, which by its envelope ends at end: as a rule that. It is
// -1 if both the envelope and the message that is reached say that they end
// beyond the file: the file was cut there, and whatever it still holds is that
// message's.
//
// If the size in the envelope is what is wrong, the messages tell: one is
// longer than its batch, or an envelope follows one before end. Of a batch that is packed,
// compressed that is, nothing tells, and all behind its envelope is looked through.
func (s *Scanner) skipMessages(pos, end int64) (next int64, packed bool, err error) {
	b, err := s.Bytes(pos, min(int64(batch.MaxHeaderLen), s.Size-pos))
	if err != nil {
		return 0, false, err
	}
	h, _, _ := batch.Parse(b)
	pos += int64(h.Len())
	if h.Codec != "" {
		return min(pos, s.Size), true, nil
	}
	for pos < min(end, s.Size) {
		body, size, ok, err := s.messageAt(pos)
		if err != nil {
			return 0, false, err
		}
		if !ok {
			if _, follows, err := s.envelopeAt(pos); err != nil || follows || end > s.Size {
				return pos, false, err
			}
			return end, false, nil
		}
		if size > end-body-int64(len("\r\n")) {
			return pos, false, nil
		}
		if pos = body + size + int64(len("\r\n")); pos > s.Size {
			return -1, false, nil
		}
	}
	return min(pos, s.Size), false, nil
}

// sector is what disks write whole: where a file that a power cut has shortened may end,
// besides the ends of its appends.
const sector = 512

// maxNested is how many bytes of valid batches in a row may be the body of
// one message whose own batch is destroyed.
const maxNested = 1 << 20

// search looks for the first batch of the log from position from on by the
// word that batches begin with, and returns -1 if there is none.
//
// A run of valid batches counts only if it is followed by the end of the file
// or, below synced, by an envelope of this topic, or if one of its batches ends
// at synced, as a batch of the log does, or if it is longer than maxNested. A run that anything else follows is taken for a part of a
// message. The price is that a short run between two damaged places is set
// aside with them, its bytes kept, if both envelopes are destroyed, or one
// where a crash may have torn appends. What is still mistaken for a batch of
// the log is in a body that was made for it, in a batch whose envelope is
// destroyed: a run longer than maxNested; one at which the file happens to
// end; below synced, one that an envelope without a batch follows.
//
// The end of the file says nothing once an envelope was met whose batch, and
// whose message there, should go on behind it: the file was cut in the middle of
// that message, or of what is compressed. cut tells that there was one. It says
// nothing either where that envelope may be what is destroyed: beyond synced, in a
// file that ends with a sector.
func (s *Scanner) search(from int64, cut bool) (int64, error) {
	cut = cut || s.Size > s.Synced && s.Size%sector == 0
	for at := from; at < s.Size; {
		window, err := s.ahead(at)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(window, []byte(batch.Prefix))
		if i < 0 {
			// The prefix may begin in the window's last bytes.
			at += int64(max(len(window)-len(batch.Prefix)+1, 1))
			continue
		}
		at += int64(i)
		end, counts, err := s.run(at, cut)
		if err != nil {
			return 0, err
		}
		if counts {
			return at, nil
		}
		if end == at && !cut {
			if cut, err = s.cutAt(at); err != nil {
				return 0, err
			}
		}
		at = max(end, at+1)
	}
	return -1, nil
}

// cutAt reports whether an envelope stands at pos of a batch that the end of the
// file has cut in the middle of a message, or of what is compressed.
func (s *Scanner) cutAt(pos int64) (bool, error) {
	end, ok, err := s.envelopeAt(pos)
	if err != nil || !ok || end <= s.Size {
		return false, err
	}
	h, _, _, err := s.HeaderAt(pos)
	if err != nil || h.Codec != "" {
		return err == nil, err
	}
	from, _, err := s.skipMessages(pos, end)
	return from < 0, err
}

// run follows the valid batches that begin at pos and reports where they end
// and whether they count as batches of the log. cut tells that the end of the
// file proves nothing.
func (s *Scanner) run(pos int64, cut bool) (end int64, counts bool, err error) {
	for end = pos; end-pos <= maxNested; {
		_, n, ok, err := s.BatchAt(end)
		if err != nil {
			return 0, false, err
		}
		if ok {
			if end += n; end == s.Synced {
				return end, true, nil
			}
			continue
		}
		if end == pos {
			return end, false, nil
		}
		_, follows, err := s.envelopeAt(end)
		return end, end == s.Size && !cut || (follows && pos < s.Synced), err
	}
	return end, true, nil
}

// ahead returns bytes from pos on: what is read already, if that is enough for
// the word to be found in it.
func (s *Scanner) ahead(pos int64) ([]byte, error) {
	if at := pos - s.start; at >= 0 && at+int64(len(batch.Prefix)) <= int64(len(s.Buf)) {
		return s.Buf[at:], nil
	}
	return s.Bytes(pos, min(Chunk, s.Size-pos))
}

// Bytes returns the n bytes at pos, which must lie within the file. They are
// good until the next call.
func (s *Scanner) Bytes(pos, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	if pos < s.start || pos+n > s.start+int64(len(s.Buf)) {
		want := min(max(n, Chunk), s.Size-pos)
		if int64(cap(s.Buf)) < want {
			s.Buf = make([]byte, want)
		}
		s.Buf = s.Buf[:want]
		s.start = pos
		if err := vfs.ReadFull(s.File, s.Buf, pos); err != nil {
			s.Buf = s.Buf[:0]
			return nil, err
		}
	}
	return s.Buf[pos-s.start:][:n], nil
}

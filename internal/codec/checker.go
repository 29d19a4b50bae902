package codec

import (
	"math/bits"
	"runtime"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Checker looks into batches of others: whether their data can be unpacked, within
// a limit, and is messages then. What it unpacks to is thrown away. There is memory
// for a few at a time; others wait for it.
type Checker struct {
	formats  map[string]format
	patience time.Duration
	buffers  chan []byte // what is not in use; each is as large as was ever wanted of it
}

// NewChecker returns a Checker. A check waits up to patience for memory.
func NewChecker(patience time.Duration) *Checker {
	n := max(1, runtime.GOMAXPROCS(0)/2)
	c := &Checker{
		formats:  map[string]format{Zstd: newZstdFormat(n), S2: s2Format{}},
		patience: patience,
		buffers:  make(chan []byte, n),
	}
	for range n {
		c.buffers <- nil
	}
	return c
}

// Check reports whether data, packed with the codec of that name, unpacks to exactly
// so many well-formed messages, in at most limit bytes, and returns how many bytes
// that is. The error is ErrUnknown, ErrTooLarge, ErrInvalid or ErrBusy. ErrTooLarge is
// found before memory is taken; the size is then what the data says.
func (c *Checker) Check(name, data []byte, messages, limit int64) (size int64, err error) {
	f := c.formats[string(name)]
	if f == nil {
		return 0, ErrUnknown
	}
	n, err := sizeWithin(f, data, limit)
	if err != nil {
		return 0, err
	}
	buf, ok := c.acquire()
	if !ok {
		return 0, ErrBusy
	}
	if cap(buf) < n {
		// Sizes differ from batch to batch: not each larger one makes memory anew.
		buf = make([]byte, min(1<<bits.Len(uint(n-1)), int(limit)))
	}
	out := buf[:n]
	err = f.unpack(out, data)
	if err == nil && !batch.Framed(&batch.Header{Messages: messages}, out) {
		err = invalid("not the %d messages that were announced", messages)
	}
	if int64(cap(buf)) > limit {
		buf = nil // the limit was larger before
	}
	c.buffers <- buf
	return int64(n), err
}

// acquire takes a buffer. It waits for one if need be.
func (c *Checker) acquire() (buf []byte, ok bool) {
	select {
	case buf = <-c.buffers:
		return buf, true
	default:
	}
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case buf = <-c.buffers:
		return buf, true
	case <-timer.C:
		return nil, false
	}
}

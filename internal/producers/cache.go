package producers

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/logd-dev/logd/internal/batch"
)

// The cache of a table, little endian (docs/format.md):
//
//	header, 60 bytes                    producer, any number, by its newest
//	 0  8  magic "logd-prd"              batch, the oldest first
//	 8  4  version, 1                    uvarint  length of the id
//	12 16  topic id                      …        the id
//	28  8  offset                        uvarint  batches, 1 to 32
//	36  8  window                        batch, the oldest first
//	44  8  oldest                        uvarint  its number
//	52  4  damage                        uvarint  how many batches came after it
//	56  4  producers                     uvarint  how far before offset it begins
//	                                     uvarint  length
//	                                     4        CRC-32 of its data
//	end, 4 bytes: CRC-32 (IEEE) of all before it
//
// It is good for the log up to an offset, and says nothing of what comes then. It
// is a cache: what does not fit is made anew from the log.
const (
	magic   = "logd-prd"
	version = 1
	endLen  = 4
)

// Errors of ParseCache.
var (
	// ErrCache is a cache that is damaged, or none.
	ErrCache = errors.New("producers: damaged cache")
	// ErrNewer is a cache that a newer version of this program wrote.
	ErrNewer = errors.New("producers: cache of a newer version")
)

// badCache says what is wrong with a cache. It is ErrCache to errors.Is.
type badCache string

func (e badCache) Error() string { return ErrCache.Error() + ": " + string(e) }

func (e badCache) Is(target error) bool { return target == ErrCache }

// Origin says what a cache was made of.
type Origin struct {
	Topic  [16]byte // the topic's id
	Offset int64    // all before it is in the table
	Window int64
	Oldest int64  // where the log began; parsing leaves out what was before it
	Damage uint32 // what was known of damage before Offset, as a checksum
}

// AppendCache appends the cache of the table, with the Window and Oldest that the
// table has. What is on its way is not in it.
func (t *Table) AppendCache(dst []byte, o Origin) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = append(dst, o.Topic[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.Offset))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.window))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.from))
	dst = binary.LittleEndian.AppendUint32(dst, o.Damage)
	number := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	n := uint32(0)
	for p := t.oldest; p != nil; p = p.newer {
		known := p.entries
		for len(known) > 0 && (known[0].ordinal <= t.count-t.window || known[0].offset < t.from) {
			known = known[1:]
		}
		n++
		dst = binary.AppendUvarint(dst, uint64(len(p.pid)))
		dst = append(dst, p.pid...)
		dst = binary.AppendUvarint(dst, uint64(len(known)))
		for i := range known {
			e := &known[i]
			dst = binary.AppendUvarint(dst, uint64(e.seq))
			dst = binary.AppendUvarint(dst, uint64(t.count-e.ordinal))
			dst = binary.AppendUvarint(dst, uint64(o.Offset-e.offset))
			dst = binary.AppendUvarint(dst, uint64(e.len))
			dst = binary.LittleEndian.AppendUint32(dst, e.crc)
		}
	}
	binary.LittleEndian.PutUint32(dst[number:], n)
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// MaxCacheLen returns how many bytes the cache of a table that looks back over so
// many batches has at most.
func MaxCacheLen(window int64) int64 {
	const perBatch = 1 + batch.MaxPIDLen + 5*binary.MaxVarintLen64 + 4 // each of another producer
	return HeaderLen + endLen + window*perBatch
}

// HeaderLen is how many bytes of a cache ParseHeader wants to see.
const HeaderLen = 60

// ParseHeader reads the header of a cache, without knowing whether the cache is
// whole. The error is ErrNewer or ErrCache.
func ParseHeader(b []byte) (Origin, error) {
	var o Origin
	if len(b) < HeaderLen || string(b[:8]) != magic {
		return o, badCache("no header")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		if v > version {
			return o, ErrNewer
		}
		return o, badCache("no version")
	}
	copy(o.Topic[:], b[12:])
	o.Offset = int64(binary.LittleEndian.Uint64(b[28:]))
	o.Window = int64(binary.LittleEndian.Uint64(b[36:]))
	o.Oldest = int64(binary.LittleEndian.Uint64(b[44:]))
	o.Damage = binary.LittleEndian.Uint32(b[52:])
	if o.Offset < 0 || o.Window < MinWindow || o.Oldest < 0 {
		return o, badCache("offset or window")
	}
	return o, nil
}

// ParseCache reads a cache. The error is ErrNewer or ErrCache.
func ParseCache(b []byte) (*Table, Origin, error) {
	o, err := ParseHeader(b)
	if err != nil {
		return nil, o, err
	}
	bad := func(what string) (*Table, Origin, error) { return nil, o, badCache(what) }
	if len(b) < HeaderLen+endLen {
		return bad("no end")
	}
	body, end := b[:len(b)-endLen], b[len(b)-endLen:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(end) {
		return bad("checksum")
	}
	n := binary.LittleEndian.Uint32(b[56:])
	t := New(o.Window)
	t.count, t.from = o.Window, o.Oldest
	d := decoder{body[HeaderLen:], true}
	var before entry // the newest of the producer before
	for range n {
		p, err := d.producer(t, &o)
		if err != "" {
			return bad(err)
		}
		newest := p.entries[len(p.entries)-1]
		if newest.ordinal <= before.ordinal || newest.offset < before.end() || t.pids[p.pid] != nil {
			return bad("order of producers")
		}
		before = newest
		t.pids[p.pid] = p
		t.bytes += producerBytes + int64(len(p.pid)) + int64(cap(p.entries))*entryBytes
		p.older, t.newest = t.newest, p
		if p.older != nil {
			p.older.newer = p
		} else {
			t.oldest = p
		}
	}
	if len(d.rest) > 0 {
		return bad("bytes at its end")
	}
	return t, o, nil
}

// decoder takes numbers from the front of rest. What is not there is 0 with ok
// false.
type decoder struct {
	rest []byte
	ok   bool
}

// number returns the next number, which must be written in as few bytes as can
// be.
func (d *decoder) number() int64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > 1<<63-1 || n > 1 && d.rest[n-1] == 0 {
		d.rest, d.ok = nil, false
		return 0
	}
	d.rest = d.rest[n:]
	return int64(v)
}

func (d *decoder) bytes(n int64) []byte {
	if n > int64(len(d.rest)) {
		d.rest, d.ok = nil, false
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// producer takes the next producer. It returns what is wrong with it, or nothing.
func (d *decoder) producer(t *Table, o *Origin) (*producer, string) {
	p := &producer{pid: string(d.bytes(d.number()))}
	n := d.number()
	if !d.ok || !batch.ValidPID(p.pid) || n < 1 || n > Kept {
		return nil, "producer"
	}
	p.entries = make([]entry, 0, n)
	var before entry
	for range n {
		e := entry{seq: d.number(), ordinal: t.count - d.number(), offset: o.Offset - d.number(), len: d.number()}
		crc := d.bytes(4)
		if !d.ok {
			return nil, "it ends too early"
		}
		e.crc = binary.LittleEndian.Uint32(crc)
		if e.seq <= before.seq || e.ordinal <= before.ordinal || e.offset < before.end() || e.offset < t.from ||
			e.len < 1 || e.len > o.Offset-e.offset {
			return nil, "batch"
		}
		p.entries = append(p.entries, e)
		before = e
	}
	return p, ""
}

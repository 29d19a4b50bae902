package producers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

var update = flag.Bool("update", false, "write testdata anew")

// aTable returns a table with a bit of everything, and where its log ends.
func aTable() (t *Table, next int64) {
	t = New(64)
	for i := range int64(90) {
		b := Batch{Offset: next, Len: 100 + i%3, CRC: uint32(i) * 0x01010101}
		switch {
		case i%3 == 0:
			b.PID, b.Seq = []byte("a"), i/3+1
		case i%7 == 1:
			b.PID, b.Seq = []byte("0123456789abcdef0123456789abcdef"), i+1 // as it is after damage
		}
		t.Add(&b)
		next += b.Len
	}
	t.Trim(4000)
	return t, next
}

func anOrigin(next int64) Origin {
	return Origin{Topic: [16]byte{1, 2, 3, 15: 16}, Offset: next, Window: 64, Oldest: 4000, Damage: 0xdeadbeef}
}

// TestGolden: a cache that was written once is read for ever.
func TestGolden(t *testing.T) {
	const name = "testdata/producers-1"
	tab, next := aTable()
	b := tab.AppendCache(nil, anOrigin(next))
	if *update {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("written %x, want %x", b, golden)
	}
	again, o, err := ParseCache(golden)
	if err != nil || o != anOrigin(next) {
		t.Fatalf("%+v, %v", o, err)
	}
	if tab.Bytes() < again.Bytes() || again.Len() != 2 {
		t.Errorf("%d bytes, %d when it was written; %d producers", again.Bytes(), tab.Bytes(), again.Len())
	}
	if _, _, err := ParseCache(new(Table).AppendCache([]byte{}, Origin{})); err == nil {
		t.Error("a window of 0 is taken")
	}
}

// TestCacheDamage: whatever happens to a cache is noticed.
func TestCacheDamage(t *testing.T) {
	tab, next := aTable()
	whole := tab.AppendCache(nil, anOrigin(next))
	for bit := range 8 * len(whole) {
		whole[bit/8] ^= 1 << (bit % 8)
		_, _, err := ParseCache(whole)
		if inVersion := bit/8 >= 8 && bit/8 < 12; !errors.Is(err, ErrCache) && !(inVersion && errors.Is(err, ErrNewer)) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
	for n := range whole {
		if _, _, err := ParseCache(whole[:n]); !errors.Is(err, ErrCache) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, _, err := ParseCache(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrCache) {
		t.Errorf("a byte more: %v", err)
	}
	if _, _, err := ParseCache(whole); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

// sum makes the checksum of a cache right.
func sum(b []byte) []byte {
	if len(b) < endLen {
		return b
	}
	body := b[:len(b)-endLen]
	return binary.LittleEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
}

// FuzzParseCache parses any bytes, with a checksum that is right: what is taken is
// written as it was.
func FuzzParseCache(f *testing.F) {
	tab, next := aTable()
	whole := tab.AppendCache(nil, anOrigin(next))
	f.Add(whole)
	f.Add(New(32).AppendCache(nil, Origin{}))
	for _, i := range []int{8, 28, 36, 44, 56, 60, 61, 62, 63, len(whole) / 2} {
		b := bytes.Clone(whole)
		b[i]++
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = sum(bytes.Clone(b))
		tab, o, err := ParseCache(b)
		if err != nil {
			if !errors.Is(err, ErrCache) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if again := tab.AppendCache(nil, o); !bytes.Equal(again, b) {
			t.Fatalf("%x is written %x", b, again)
		}
		// It works.
		var n int64
		for p := range tab.pids {
			x := Batch{PID: []byte(p), Seq: 1, Offset: o.Offset, Len: 1}
			tab.Ask(&x)
			tab.Add(&x)
			if n++; n == 100 {
				break
			}
		}
		tab.Trim(o.Offset + 1)
		if tab.Len() != 0 || tab.Bytes() != 0 {
			t.Fatalf("%d producers, %d bytes after all was trimmed", tab.Len(), tab.Bytes())
		}
	})
}

// No cache is longer than MaxCacheLen, also if each batch is of another producer with
// the longest of all values.
func TestMaxCacheLen(t *testing.T) {
	const window = 64
	table := New(window)
	offset := int64(math.MaxInt64 - 200*window)
	for i := range int64(window) {
		pid := fmt.Sprintf("%0*d", batch.MaxPIDLen, i)
		table.Add(&Batch{PID: []byte(pid), Seq: math.MaxInt64, Offset: offset + 100*i, Len: math.MaxInt32, CRC: 1})
	}
	cache := table.AppendCache(nil, Origin{Offset: math.MaxInt64})
	if n := int64(len(cache)); n > MaxCacheLen(window) || n < MaxCacheLen(window)/2 {
		t.Errorf("%d bytes, at most %d", n, MaxCacheLen(window))
	}
}

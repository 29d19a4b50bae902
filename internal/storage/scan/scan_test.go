package scan

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// wireOf returns a batch as it is stored.
func wireOf(topic string, bodies ...string) []byte {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return b.Finish(topic)
}

// scanBytes returns the positions of the batches that a scan finds.
func scanBytes(t *testing.T, data []byte, synced int64) (positions []int64, found Result) {
	t.Helper()
	disk := vfstest.New()
	if err := disk.WriteFile("f", data); err != nil {
		t.Fatal(err)
	}
	f, err := disk.OpenFile("f", vfs.ReadOnly, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := &Scanner{File: f, Size: int64(len(data)), Topic: "t", Synced: synced}
	found, err = sc.Scan(0, func(pos int64, _ *batch.Header, _ int64, _ bool) error {
		positions = append(positions, pos)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return positions, found
}

// A message may hold whole batches of its own topic. Whatever is destroyed
// around them, they are not batches of the log.
func TestScanTakesNoNestedBatch(t *testing.T) {
	nested := string(wireOf("t", "inner"))
	first, last := string(wireOf("t", "first")), string(wireOf("t", "last"))
	zero := func(s string, from, n int) string { return s[:from] + strings.Repeat("\x00", n) + s[from+n:] }

	plain := string(wireOf("t", "x"+nested+nested+"y"))
	two := string(wireOf("t", "one", nested+nested+nested+"y"))
	torn := string(wireOf("t", nested+zero(nested, len(nested)-4, 4)+"y"))
	inner := strings.Index(two, nested)
	tests := []struct {
		name   string
		damage string // a batch that is no longer valid
		tail   string
	}{
		{"envelope", zero(plain, 0, 6), last},
		{"envelope at the end", zero(plain, 0, 6), ""},
		{"checksum", strings.Replace(plain, " 1\r\n", " 2\r\n", 1), last},
		{"checksum at the end", strings.Replace(plain, " 1\r\n", " 2\r\n", 1), ""},
		{"end of the message", zero(plain, len(plain)-2, 2), last},
		{"end of the message, at the end", zero(plain, len(plain)-2, 2), ""},
		{"message line", zero(two, inner-10, 10), last},
		{"message line at the end", zero(two, inner-10, 10), ""},
		{"cut just after the nested batch", plain[:strings.Index(plain, "y")], ""},
		{"cut just after the first of two", plain[:strings.Index(plain, "x")+1+len(nested)], ""},
		{"nested batch torn too", torn[:len(torn)-1] + "\x00", ""},
		{"envelope, nested batch torn too", zero(torn, 0, 6), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := []int64{0}
			if test.tail != "" {
				want = append(want, int64(len(first)+len(test.damage)))
			}
			got, _ := scanBytes(t, []byte(first+test.damage+test.tail), int64(len(first)))
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("batches at %v, want %v", got, want)
			}
		})
	}
}

// One destroyed place costs the batches that it touches and no other.
func TestScanGoesOnAfterDamage(t *testing.T) {
	var data []byte
	var starts []int64
	for i := range 6 {
		starts = append(starts, int64(len(data)))
		data = append(data, wireOf("t", strings.Repeat("b", 20+i), "second")...)
	}
	starts = append(starts, int64(len(data)))
	for pos := range data {
		for _, bit := range []byte{1, 8, 128} {
			for _, synced := range []int64{0, int64(len(data))} {
				flipped := []byte(string(data))
				flipped[pos] ^= bit
				var want []int64
				for i, start := range starts[:6] {
					if int64(pos) < start || int64(pos) >= starts[i+1] {
						want = append(want, start)
					}
				}
				got, found := scanBytes(t, flipped, synced)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("bit %d of byte %d flipped, synced %d: batches at %v, want %v", bit, pos, synced, got, want)
				}
				if n := len(found.Damaged); n > 1 || (n == 0 && int64(pos) < starts[5]) {
					t.Fatalf("byte %d: damage %v", pos, found.Damaged)
				}
			}
		}
	}
}

// Where an envelope is destroyed and its messages are not, they lead to the
// next batch, whatever else is damaged behind it.
func TestScanFollowsMessagesOfALostEnvelope(t *testing.T) {
	nested := string(wireOf("t", "inner"))
	first := string(wireOf("t", "first"))
	lost := string(wireOf("t", "one", "x"+nested+nested+"y"))
	next := string(wireOf("t", "next"))
	for name, envelope := range map[string]string{
		"word":   strings.Replace(lost, "BATCH", "BAT\x00H", 1),
		"size":   strings.Replace(lost, "BATCH ", "BATCH x", 1),
		"number": strings.Replace(lost, " 2\r\n", " \x12\r\n", 1),
		"CR":     strings.Replace(lost, " 2\r\n", " 2\x0c\n", 1),
		"LF":     strings.Replace(lost, " 2\r\n", " 2\r\x0b", 1),
	} {
		for _, after := range []string{"", "junk", "\x00\x00\x00\x00\x00\x00\x00\x00"} {
			start := len(first) + len(envelope)
			all := first + envelope + next + next + after
			got, _ := scanBytes(t, []byte(all), int64(len(all)))
			want := []int64{0, int64(start), int64(start + len(next))}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, %q at the end: batches at %v, want %v", name, after, got, want)
			}
		}
	}
	// Both the envelope and the first message are destroyed: then only the
	// mark tells that what follows is whole.
	both := strings.Repeat("\x00", 40) + lost[40:]
	start := len(first) + len(both)
	got, _ := scanBytes(t, []byte(first+both+next+next+"junk"), int64(start+len(next)))
	if want := []int64{0, int64(start), int64(start + len(next))}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("before the mark: batches at %v, want %v", got, want)
	}
}

// Where a crash may have torn the file, an envelope of which the end is left
// may be that of a batch in a message.
func TestScanTornEnvelope(t *testing.T) {
	nested := string(wireOf("t", "inner"))
	first := string(wireOf("t", "first"))
	torn := string(wireOf("t", nested+nested+nested))
	at := strings.Index(torn, nested) + 4
	torn = strings.Repeat("\x00", at) + torn[at:len(torn)-4] + "\x00\x00\x00\x00"
	got, _ := scanBytes(t, []byte(first+torn), int64(len(first)))
	if want := []int64{0}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("batches at %v, want %v", got, want)
	}
}

// A power cut may destroy one batch and cut the next one in the middle of a
// message, just behind a batch that this holds.
func TestScanCutBehindNestedBatch(t *testing.T) {
	nested := string(wireOf("t", "inner"))
	first, lost := string(wireOf("t", "first")), string(wireOf("t", "lost"))
	for _, cut := range []string{
		string(wireOf("t", nested+"the rest")),
		string(wireOf("t", "before", nested+nested+"the rest", "after")),
	} {
		cut = cut[:strings.Index(cut, "the rest")]
		for _, between := range []string{strings.Repeat("\x00", len(lost)), lost[len(lost)-5:], ""} {
			got, _ := scanBytes(t, []byte(first+between+cut), int64(len(first)))
			if want := []int64{0}; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("after %q: batches at %v, want %v", between, got, want)
			}
		}
	}
}

// A power cut may destroy the beginning of a batch and cut its file where a sector
// ends, just behind a batch that a message holds. A file that was cut nowhere ends
// there, too, once in 512: below the mark it is known to be whole.
func TestScanCutAtASector(t *testing.T) {
	nested := string(wireOf("t", "inner"))
	first := string(wireOf("t", "first"))
	for over := range 2 {
		lost := wireOf("t", strings.Repeat("y", 2*sector-len(first)-len(nested)+over)+nested+"the rest")
		clear(lost[:sector/2])
		file := append([]byte(first), lost[:2*sector-len(first)+over]...)
		copy(file[len(file)-len(nested):], nested)
		inner := int64(len(file) - len(nested))
		for synced, want := range map[int64]bool{
			int64(len(first)): over > 0, // an end like any other is taken for the log's
			int64(len(file)):  true,
		} {
			if got, _ := scanBytes(t, file, synced); slices.Contains(got, inner) != want {
				t.Errorf("%d bytes, synced to %d: batches at %v, and that one stands at %d is %t", len(file), synced, got, inner, want)
			}
		}
	}
}

// A short run between two destroyed envelopes counts where the file was once
// whole and an envelope follows, and is set aside where not. A long one always
// counts.
func TestScanBetweenTwoDamages(t *testing.T) {
	one := wireOf("t", "one")
	bad := []byte(strings.Repeat("\x00", 50))
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	got, _ := scanBytes(t, join(one, bad, one, bad, one), 1<<20)
	if want := []int64{0, int64(2*len(one) + 100)}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("a lone batch: %v, want %v", got, want)
	}
	long := wireOf("t", strings.Repeat("x", maxNested))
	got, _ = scanBytes(t, join(one, bad, long, bad, one), 0)
	if len(got) != 3 {
		t.Fatalf("a long one: %v", got)
	}
}

// counter counts the bytes that are read.
type counter struct {
	io.ReaderAt
	n int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// What an envelope claims costs nothing until its messages bear it out: neither
// memory nor reads.
func TestScanBelievesNoSize(t *testing.T) {
	const size = 64 << 20
	good := string(wireOf("t", strings.Repeat("x", 1<<16)))
	claim := fmt.Sprintf("BATCH %d t 1 1\r\nMSG 5\r\nhello\r\n", size/2)
	hostile := string(wireOf("t", strings.Repeat(claim, 1000)))
	hostile = strings.Replace(hostile, "BATCH", "xxxxx", 1)
	hostile = strings.Replace(hostile, "MSG", "xxx", 1)
	data := hostile + strings.Repeat(good, size/len(good))
	for name, synced := range map[string]int64{"synced": int64(len(data)), "not synced": 0} {
		t.Run(name, func(t *testing.T) {
			c := &counter{ReaderAt: strings.NewReader(data)}
			sc := &Scanner{File: c, Size: int64(len(data)), Topic: "t", Synced: synced}
			batches := 0
			found, err := sc.Scan(0, func(int64, *batch.Header, int64, bool) error { batches++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if want := size / len(good); batches != want || found.Valid != sc.Size {
				t.Errorf("%d batches up to %d, want %d up to %d", batches, found.Valid, want, sc.Size)
			}
			if c.n > 3*sc.Size {
				t.Errorf("%d bytes were read of %d", c.n, sc.Size)
			}
			if int64(cap(sc.Buf)) > Chunk {
				t.Errorf("%d bytes of memory", cap(sc.Buf))
			}
		})
	}
}

// A batch that is larger than what is read at a time is checked all the same.
func TestScanLargeBatches(t *testing.T) {
	large := wireOf("t", strings.Repeat("a", Chunk), "b", strings.Repeat("c", 2*Chunk))
	last := wireOf("t", "last")
	tests := []struct {
		name string
		flip int // position
		want int // batches
	}{
		{"whole", -1, 2},
		{"first body", 100, 1},
		{"second message", Chunk + 50, 1},
		{"third body", 2 * Chunk, 1},
		{"last byte", len(large) - 1, 1},
		{"checksum", len("BATCH 3145770 t "), 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := append(slices.Clone(large), last...)
			if test.flip >= 0 {
				data[test.flip] ^= 1
			}
			if got, _ := scanBytes(t, data, int64(len(data))); len(got) != test.want {
				t.Errorf("batches at %v, want %d", got, test.want)
			}
		})
	}
}

// What is compressed may begin with a batch of its own topic. It is none of the log, whatever
// is destroyed around it.
func TestScanTakesNothingOfWhatIsCompressed(t *testing.T) {
	data := append(wireOf("t", "inner"), strings.Repeat("\x01", 100)...)
	h := batch.Header{Size: int64(len(data)), Topic: []byte("t"), CRC: batch.Checksum(data) + 1, Messages: 1, Codec: "zstd"}
	packed := append(batch.AppendHeader(nil, &h), data...)
	last := wireOf("t", "last")
	lost := append([]byte("\x00\x00\x00\x00\x00"), wireOf("t", "lost")[5:]...)
	inner := int64(len(packed) - len(data))
	for name, file := range map[string][]byte{
		"cut":                      packed[:len(packed)-20],
		"the next is lost, too":    slices.Concat(packed, lost, last),
		"all that follow are lost": slices.Concat(packed, lost),
	} {
		for _, synced := range []int64{0, int64(len(file))} {
			if positions, _ := scanBytes(t, file, synced); slices.Contains(positions, inner) {
				t.Errorf("%s, synced to %d: batches at %v, and what is at %d is compressed data", name, synced, positions, inner)
			}
		}
	}
}

package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/testkit"
)

// codecs are all there are, with all levels.
var codecs = map[string]*Codec{
	"s2": NewS2(), "zstd": NewZstd(Fastest), "zstd default": NewZstd(Default),
}

// data returns the data of a batch of n messages, and about so many bytes.
func data(n, size int) []byte {
	var b batch.Builder
	for i := range n {
		b.Add([]byte(fmt.Sprintf("%d %s", i, strings.Repeat("a line that is much like others; ", size/n/32))))
	}
	raw := b.Finish("t")
	return bytes.Clone(raw[bytes.IndexByte(raw, '\n')+1:])
}

// TestRoundTrip has what is packed unpack to the same, and appended behind what is
// there.
func TestRoundTrip(t *testing.T) {
	random := make([]byte, 100_000)
	chacha := rand.NewChaCha8([32]byte{1})
	chacha.Read(random)
	inputs := map[string][]byte{
		"nothing": {}, "a byte": {7}, "255": random[:255], "256": random[:256], "1 KiB": data(3, 1024), "64 KiB": data(100, 65536),
		"random": random, "9 MiB": bytes.Repeat(data(1000, 1<<20), 9), "zeros": make([]byte, 1<<20),
	}
	for name, c := range codecs {
		for what, in := range inputs {
			t.Run(name+"/"+what, func(t *testing.T) {
				packed := c.Encode([]byte("before"), in)
				rest, ok := bytes.CutPrefix(packed, []byte("before"))
				if !ok {
					t.Fatal("what was there is gone")
				}
				if n, err := sizeWithin(c.format, rest, maxSize); err != nil || int(n) != len(in) {
					t.Fatalf("sizeWithin: %d, %v", n, err)
				}
				got, err := c.Decode([]byte("x"), rest, len(in))
				if err != nil || !bytes.Equal(got[1:], in) || got[0] != 'x' {
					t.Fatalf("Decode: %d bytes, %v", len(got), err)
				}
				if len(in) == 0 {
					return
				}
				got, err = c.Decode([]byte("x"), rest, len(in)-1)
				if !errors.Is(err, ErrTooLarge) || string(got) != "x" {
					t.Fatalf("Decode with a limit that is too small: %q, %v", got, err)
				}
			})
		}
	}
}

// frame returns a zstd frame as an encoder with these options makes it, also as a
// stream.
func frame(t testing.TB, in []byte, stream bool, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		t.Fatal(err)
	}
	if !stream {
		return w.EncodeAll(in, nil)
	}
	w.Write(in)
	w.Flush() // else it knows the size
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestForms says which forms of data are taken.
func TestForms(t *testing.T) {
	in := data(10, 4096)
	whole := frame(t, in, false)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}, 1, 2, 3, 4)
	s2stream := func() []byte {
		var b bytes.Buffer
		w := s2.NewWriter(&b)
		w.Write(in)
		w.Close()
		return b.Bytes()
	}()
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	wide := bytes.Clone(codecsFrame(1<<31, in))
	for _, tc := range []struct {
		name, codec string
		data        []byte
		want        error
	}{
		{"a frame", "zstd", whole, nil},
		{"with a checksum", "zstd", frame(t, in, false, zstd.WithEncoderCRC(true)), nil},
		{"with a window of 8 MiB", "zstd", frame(t, in, false, zstd.WithSingleSegment(false), zstd.WithWindowSize(8<<20)), nil},
		{"without its size", "zstd", frame(t, in, true), ErrInvalid},
		{"two frames", "zstd", join(whole, whole), ErrInvalid},
		{"1000 frames", "zstd", bytes.Repeat(whole, 1000), ErrInvalid},
		{"an empty frame behind it", "zstd", join(whole, frame(t, nil, false, zstd.WithZeroFrames(true))), ErrInvalid},
		{"a skippable frame first", "zstd", join(skippable, whole), ErrInvalid},
		{"a skippable frame behind it", "zstd", join(whole, skippable), ErrInvalid},
		{"a byte behind it", "zstd", join(whole, []byte{0}), ErrInvalid},
		{"a dictionary", "zstd", frame(t, in, false, zstd.WithEncoderDictRaw(7, in)), ErrInvalid},
		{"a window of 2 GiB", "zstd", wide, ErrInvalid},
		{"nothing", "zstd", nil, ErrInvalid},
		{"s2", "zstd", s2.Encode(nil, in), ErrInvalid},

		{"a block", "s2", s2.Encode(nil, in), nil},
		{"a better one", "s2", s2.EncodeBest(nil, in), nil},
		{"a block of snappy", "s2", snappy.Encode(nil, in), nil},
		{"a stream", "s2", s2stream, ErrInvalid},
		{"a byte behind it", "s2", join(s2.Encode(nil, in), []byte{0}), ErrInvalid},
		{"two blocks", "s2", bytes.Repeat(s2.Encode(nil, in), 2), ErrInvalid},
		{"nothing", "s2", nil, ErrInvalid},
		{"zstd", "s2", whole, ErrInvalid},

		{"a codec that is none", "lz4", whole, ErrUnknown},
	} {
		t.Run(tc.codec+"/"+tc.name, func(t *testing.T) {
			n, err := NewChecker(time.Second).Check(tc.codec, tc.data, 10, 1<<20)
			if !errors.Is(err, tc.want) || err == nil && int(n) != len(in) {
				t.Fatalf("Check: %d, %v, want %v", n, err, tc.want)
			}
			if tc.want == ErrUnknown {
				return
			}
			got, err := codecs[tc.codec].Decode(nil, tc.data, 1<<20)
			if !errors.Is(err, tc.want) || err == nil && !bytes.Equal(got, in) {
				t.Fatalf("Decode: %d bytes, %v, want %v", len(got), err, tc.want)
			}
		})
	}
}

// codecsFrame returns a frame of one raw block that asks for a window of so many
// bytes, a power of two.
func codecsFrame(window int, in []byte) []byte {
	log := 0
	for ; 1<<(10+log) < window; log++ {
	}
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 2 << 6, byte(log << 3)}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(in)))
	block := len(in)<<3 | 1
	return append(append(b, byte(block), byte(block>>8), byte(block>>16)), in...)
}

// TestMessages says which messages are taken: those that are announced.
func TestMessages(t *testing.T) {
	in := data(10, 4096)
	check := NewChecker(time.Second)
	for name, c := range codecs {
		for _, tc := range []struct {
			in       []byte
			messages int64
			ok       bool
		}{
			{in, 10, true}, {in, 9, false}, {in, 11, false}, {in, 1 << 40, false}, {in[:len(in)-1], 10, false},
			{append(bytes.Clone(in), 'x'), 10, false}, {[]byte("no message"), 1, false}, {nil, 0, false}, {nil, 1, false},
		} {
			_, err := check.Check(c.Name(), c.Encode(nil, tc.in), tc.messages, 1<<20)
			if tc.ok != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %d bytes, %d messages: %v", name, len(tc.in), tc.messages, err)
			}
		}
	}
}

// TestLies has data that announces another size than it has.
func TestLies(t *testing.T) {
	in := data(10, 4096)
	block := s2.Encode(nil, in)
	_, head := binary.Uvarint(block)
	whole := frame(t, in, false, zstd.WithSingleSegment(true))
	for _, size := range []int{0, 1, len(in) - 1, len(in) + 1, 2 * len(in), 60000} {
		lie := append(binary.AppendUvarint(nil, uint64(size)), block[head:]...)
		if _, err := codecs["s2"].Decode(nil, lie, 1<<20); !errors.Is(err, ErrInvalid) {
			t.Errorf("s2: %d bytes announced as %d: %v", len(in), size, err)
		}
		lie = bytes.Clone(whole) // a size of two bytes, less 256
		binary.LittleEndian.PutUint16(lie[5:], uint16(size-256))
		if _, err := codecs["zstd"].Decode(nil, lie, 1<<20); !errors.Is(err, ErrInvalid) {
			t.Errorf("zstd: %d bytes announced as %d: %v", len(in), size, err)
		}
	}
}

// zeros returns n zero bytes as a zstd frame: blocks of one byte each, repeated.
func zeros(n int) []byte {
	const block = 128 << 10
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 3 << 6, 10 << 3} // 8 bytes of size, a window of 1 MiB
	b = binary.LittleEndian.AppendUint64(b, uint64(n))
	for first := true; first || n > 0; first = false {
		size := min(n, block)
		n -= size
		head := size<<3 | 1<<1
		if n == 0 {
			head |= 1
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return b
}

// zeroBlock returns n zero bytes as an s2 block.
func zeroBlock(n int) []byte {
	small := s2.Encode(nil, make([]byte, min(n, 1<<24)))
	if n <= 1<<24 {
		return small
	}
	_, head := binary.Uvarint(small)
	b := binary.AppendUvarint(nil, uint64(n))
	b = append(b, small[head:]...)
	for left := n - 1<<24; left > 0; {
		// a repeat of the last offset, with a length of three bytes
		k := min(left, 1<<24-1)
		if left-k > 0 && left-k < 1<<16+4 {
			k -= 1 << 17
		}
		l := k - (1<<16 + 4)
		b = append(b, 7<<2|1, 0, byte(l), byte(l>>8), byte(l>>16))
		left -= k
	}
	return b
}

// TestBombs has little data that unpacks to much. What is over the limit is refused
// by what it says, in no memory.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	for _, tc := range []struct {
		name string
		make func(n int) []byte
	}{{"zstd", zeros}, {"s2", zeroBlock}} {
		for _, n := range []int{limit, limit + 1, 1 << 30} {
			t.Run(fmt.Sprintf("%s/%d", tc.name, n), func(t *testing.T) {
				packed := tc.make(n)
				if got, err := sizeWithin(codecs[tc.name].format, packed, maxSize); err != nil || got != n {
					t.Fatalf("sizeWithin: %d, %v", got, err)
				}
				if n == 1<<30 && len(packed) > 64<<10 {
					t.Fatalf("no bomb: %d bytes", len(packed))
				}
				check := NewChecker(time.Second)
				used := allocated(func() {
					_, err := check.Check(tc.name, packed, 1, limit)
					want := ErrInvalid // zeros are no messages
					if n > limit {
						want = ErrTooLarge
					}
					if !errors.Is(err, want) {
						t.Errorf("Check: %v, want %v", err, want)
					}
				})
				if n > limit && used > 64<<10 {
					t.Errorf("%d bytes were taken for what is refused", used)
				}
				if _, err := codecs[tc.name].Decode(nil, packed, limit); (n > limit) != errors.Is(err, ErrTooLarge) {
					t.Errorf("Decode: %v", err)
				}
			})
		}
	}
}

// TestBombsAreBombs is the control of TestBombs: without the limit, they take what
// they say.
func TestBombsAreBombs(t *testing.T) {
	const n = 64 << 20
	for name, packed := range map[string][]byte{"zstd": zeros(n), "s2": zeroBlock(n)} {
		used := allocated(func() {
			if _, err := codecs[name].Decode(nil, packed, n); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if used < n {
			t.Errorf("%s: %d bytes were taken for %d", name, used, n)
		}
	}
}

// allocated returns how many bytes f takes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemory has many checks at a time take no more memory than is meant for them.
func TestMemory(t *testing.T) {
	const limit = 1 << 20
	check := NewChecker(time.Minute)
	packed := map[string][]byte{"zstd": zeros(limit), "s2": zeroBlock(limit)}
	used := allocated(func() {
		var all sync.WaitGroup
		for i := range 32 {
			name := []string{"zstd", "s2"}[i%2]
			all.Go(func() {
				for range 4 {
					if _, err := check.Check(name, packed[name], 1, limit); !errors.Is(err, ErrInvalid) {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
	if used > 32<<20 {
		t.Errorf("128 checks took %d bytes", used)
	}
}

// TestAllocations: a check takes no memory once it has what it needs.
func TestAllocations(t *testing.T) {
	in := data(100, 60000)
	check := NewChecker(time.Second)
	for name, c := range codecs {
		packed, codec := c.Encode(nil, in), c.Name()
		n := testing.AllocsPerRun(100, func() {
			if _, err := check.Check(codec, packed, 100, 1<<20); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 && !testkit.Race { // its pools keep less
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestSmallerLimit gives memory back that a limit of before has let grow.
func TestSmallerLimit(t *testing.T) {
	check := NewChecker(time.Second)
	in := data(10, 100000)
	for range cap(check.buffers) {
		if _, err := check.Check(S2, codecs["s2"].Encode(nil, in), 10, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	for range cap(check.buffers) { // each of them once more: they are taken in turns
		check.Check(S2, codecs["s2"].Encode(nil, data(1, 4096)), 1, 8192)
	}
	for range cap(check.buffers) {
		if b := <-check.buffers; cap(b) > 8192 {
			t.Errorf("a buffer of %d bytes is kept", cap(b))
		}
	}
}

// TestBusy: who gets no memory in time is told.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := NewChecker(5 * time.Second)
		var held [][]byte
		for range cap(check.buffers) {
			b, _ := check.acquire()
			held = append(held, b)
		}
		packed := codecs["s2"].Encode(nil, data(1, 100))
		start := time.Now()
		if _, err := check.Check(S2, packed, 1, 1<<20); !errors.Is(err, ErrBusy) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { check.buffers <- held[0] })
		if _, err := check.Check(S2, packed, 1, 1<<20); err != nil {
			t.Errorf("when memory comes back: %v", err)
		}
	})
}

// TestCutsAndFlips cuts data at each byte and flips each bit of it. Nothing is taken
// that is not what the data was, or other messages as well-formed as it was.
func TestCutsAndFlips(t *testing.T) {
	in := data(10, 3000)
	check := NewChecker(time.Second)
	for name, c := range codecs {
		packed, codec := c.Encode(nil, in), c.Name()
		for n := range packed {
			if _, err := check.Check(codec, packed[:n], 10, 1<<20); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
		for bit := range 8 * len(packed) {
			bad := bytes.Clone(packed)
			bad[bit/8] ^= 1 << (bit % 8)
			n, err := check.Check(codec, bad, 10, 1<<20)
			if err == nil && int(n) != len(in) {
				t.Errorf("%s: bit %d flipped: %d bytes are taken", name, bit, n)
			}
			if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: bit %d flipped: %v", name, bit, err)
			}
		}
	}
}

// TestReference compares with the zstd program, which others pack and unpack with.
func TestReference(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("there is no program zstd")
	}
	run := func(in []byte, args ...string) ([]byte, error) {
		cmd := exec.Command(program, args...)
		cmd.Stdin = bytes.NewReader(in)
		return cmd.Output()
	}
	in := data(300, 100000)
	for name, c := range codecs {
		if c.Name() != Zstd {
			continue
		}
		got, err := run(c.Encode(nil, in), "-dc")
		if err != nil || !bytes.Equal(got, in) {
			t.Errorf("%s: the program unpacks %d bytes, %v", name, len(got), err)
		}
	}
	file := t.TempDir() + "/in"
	if err := os.WriteFile(file, in, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, level := range []string{"-1", "-3", "-19", "--fast"} {
		packed, err := run(nil, level, "-c", file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := codecs["zstd"].Decode(nil, packed, 1<<20); err != nil || !bytes.Equal(got, in) {
			t.Errorf("what the program packs with %s: %d bytes, %v", level, len(got), err)
		}
	}
	// What it refuses is refused.
	packed := codecs["zstd"].Encode(nil, in[:3000])
	rng := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		bad := bytes.Clone(packed)
		bad[rng.IntN(len(bad))] ^= byte(1 << rng.IntN(8))
		want, ref := run(bad, "-dcq")
		got, err := codecs["zstd"].Decode(nil, bad, 1<<20)
		if err == nil && (ref != nil || !bytes.Equal(got, want)) {
			t.Fatalf("%x: %d bytes; the program: %d, %v", bad, len(got), len(want), ref)
		}
	}
}

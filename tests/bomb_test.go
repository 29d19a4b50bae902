package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// frame returns a zstd frame that says it has n bytes, with that window descriptor, of
// blocks: each a type, 0 is raw and 1 a byte that is repeated, a size and bytes.
func frame(n int, window byte, blocks ...frameBlock) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 3 << 6, window}
	b = binary.LittleEndian.AppendUint64(b, uint64(n))
	for i, k := range blocks {
		head := k.size<<3 | k.kind<<1
		if i == len(blocks)-1 {
			head |= 1
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16))
		b = append(b, k.data...)
	}
	return b
}

type frameBlock struct {
	kind, size int
	data       string
}

const (
	window1MiB = 10 << 3
	window2GiB = 21 << 3
)

// zeroFrame is a zstd frame of n zeros that says it has another number of them.
func zeroFrame(n, says int) []byte {
	var blocks []frameBlock
	for first := true; first || n > 0; first = false {
		size := min(n, 128<<10)
		n -= size
		blocks = append(blocks, frameBlock{1, size, "\x00"})
	}
	return frame(says, window1MiB, blocks...)
}

// zeroBlock is an s2 block of n zeros, more than 100, that says it has another number.
func zeroBlock(n, says int) []byte {
	b := binary.AppendUvarint(nil, uint64(says))
	b = append(b, 0, 0, 63<<2|2, 1, 0) // one, and 64 copies of it
	for left := n - 65; left > 0; {
		const least = 1<<16 + 4 // of a repeat with a length of three bytes
		if left < least {
			size := min(left, 64)
			b = append(b, byte(size-1)<<2|2, 1, 0)
			left -= size
			continue
		}
		size := min(left, 1<<24-1)
		l := size - least
		b = append(b, 7<<2|1, 0, byte(l), byte(l>>8), byte(l>>16))
		left -= size
	}
	return b
}

// packed makes the wire bytes of a batch whose data is compressed already.
func packed(topic, codec string, messages int, data []byte) string {
	return fmt.Sprintf("BATCH %d %s %d %d codec=%s\r\n%s", len(data), topic, crc32.ChecksumIEEE(data), messages, codec, data)
}

// TestBombs sends batches that unpack to much, or to something else than they say: none is
// stored, and the server takes little memory for them. One that is as it says is stored.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, dir, "--uncompressed-size", "1MiB", "--timeout", "20s")
	data := strings.Repeat("MSG 5\r\n12345\r\n", 20)
	good := frame(len(data), window1MiB, frameBlock{0, len(data), data})
	bombs := map[string]string{
		"frames":    packed("t", "zstd", 1, bytes.Repeat(zeroFrame(1000, 1000), 1000)),
		"window":    packed("t", "zstd", 20, frame(len(data), window2GiB, frameBlock{0, len(data), data})),
		"fewer":     packed("t", "zstd", 19, good),
		"more":      packed("t", "zstd", 21, good),
		"too small": packed("t", "zstd", 20, frame(len(data)-1, window1MiB, frameBlock{0, len(data), data})),
		"too large": packed("t", "zstd", 20, frame(len(data)+1, window1MiB, frameBlock{0, len(data), data})),
	}
	for _, n := range []int{limit, limit + 1, 1 << 30} {
		for _, says := range []int{n, n - 1, n + 1, 1000, limit, 1 << 40} {
			bombs[fmt.Sprintf("zstd of %d that says %d", n, says)] = packed("t", "zstd", 1, zeroFrame(n, says))
			bombs[fmt.Sprintf("s2 of %d that says %d", n, says)] = packed("t", "s2", 1, zeroBlock(n, says))
		}
	}
	for cut := range good {
		bombs[fmt.Sprintf("cut at %d", cut)] = packed("t", "zstd", 20, good[:cut])
	}

	before, _ := s.resident()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for name, bomb := range bombs {
				c, err := connect(s.addr)
				if err != nil {
					t.Error(err)
					return
				}
				c.tcp.SetDeadline(time.Now().Add(patience))
				_, err = io.WriteString(c.tcp, bomb)
				if err == nil {
					_, err = c.answer()
				}
				if _, refused := errors.AsType[refusal](err); !refused {
					t.Errorf("%s: %v, want a refusal", name, err)
				}
				c.close()
			}
		})
	}
	group.Wait()
	_, most := s.resident()
	t.Logf("%d bombs took %d KiB", 4*len(bombs), (most-before)>>10)
	if more := most - before; more > 32<<20 {
		t.Errorf("%d bombs took %d bytes", 4*len(bombs), more)
	}

	c := dial(t, s.addr)
	c.write("INFO t\r\n")
	if got, err := c.answer(); err != refusal("not found") {
		t.Errorf("of the bombs something is stored: %q, %v", got, err)
	}
	c.write("%s", packed("t", "zstd", 20, good))
	if got, err := c.answer(); err != nil {
		t.Errorf("a good batch is answered %q, %v", got, err)
	}
	if got := c.stat("conns.panics"); got != 0 {
		t.Errorf("%d panics", got)
	}
	s.stop()
	check := exec.Command(built.cli, "check", dir)
	check.Env = environment()
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}

package work

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// text is what bodies are cut from: lines like those of a service's log, with
// about as many random digits as such lines have, the same in every run.
var text = sync.OnceValue(func() string {
	rnd := rand.New(rand.NewPCG(1774, 1775))
	methods := []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	words := strings.Fields("orders users carts items search login images prices stock reviews")
	states := []int{200, 200, 200, 201, 204, 301, 404, 409, 500, 503}
	var b strings.Builder
	const length = 4 << 20
	for b.Len() < length {
		fmt.Fprintf(&b, `time=2026-11-%02dT%02d:%02d:%02d.%06dZ level=info id=%016x method=%s path=/v1/%s/%d/%s status=%d us=%d bytes=%d client=10.%d.%d.%d agent=%08x `,
			1+rnd.IntN(30), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(1e6), rnd.Uint64(),
			methods[rnd.IntN(len(methods))], words[rnd.IntN(len(words))], rnd.IntN(1e6), words[rnd.IntN(len(words))],
			states[rnd.IntN(len(states))], rnd.IntN(1e5), rnd.IntN(1e5), rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), rnd.Uint32())
	}
	return b.String()
})

// bodies gives out messages of one size, one after another. They differ, and
// look like text.
type bodies struct {
	text    []byte
	size    int
	at      int
	scratch []byte
}

// newBodies returns bodies that begin elsewhere for each number.
func newBodies(size, number int) *bodies {
	b := &bodies{text: []byte(text()), size: size, scratch: make([]byte, size)}
	b.at = number * 7919 * 13 % (len(b.text) - size)
	return b
}

// next returns a body that is good until the text is through, which is longer
// than anybody needs it. It must not be changed.
func (b *bodies) next() []byte {
	if b.at+b.size > len(b.text) {
		b.at %= 31 // not the same bodies again at once
	}
	body := b.text[b.at : b.at+b.size : b.at+b.size]
	b.at += b.size
	return body
}

// stampLen is the length of a stamp: a time in hexadecimal digits.
const stampLen = 16

// epoch is what stamps are counted from.
var epoch = time.Now()

// stamped returns a body that tells the time. It is good until the next call.
func (b *bodies) stamped(at time.Time) []byte {
	copy(b.scratch, b.next())
	n := uint64(at.Sub(epoch))
	var raw [stampLen / 2]byte
	for i := range raw {
		raw[i] = byte(n >> (8 * (len(raw) - 1 - i)))
	}
	hex.Encode(b.scratch, raw[:])
	return b.scratch
}

// stampOf returns the time that a body tells, if it tells one.
func stampOf(body []byte) (at time.Time, ok bool) {
	if len(body) < stampLen {
		return at, false
	}
	var raw [stampLen / 2]byte
	if _, err := hex.Decode(raw[:], body[:stampLen]); err != nil {
		return at, false
	}
	var n uint64
	for _, c := range raw {
		n = n<<8 | uint64(c)
	}
	return epoch.Add(time.Duration(n)), true
}

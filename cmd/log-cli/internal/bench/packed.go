package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
)

// maxPackedInFlight is how many batches a logd.Writer may have on their way.
const maxPackedInFlight = 1024

// writePacked is a writer whose batches are compressed. It sends at least one.
func (b *bencher) writePacked(ctx context.Context, client *logd.Client, src *benchSource, t *tally) (err error) {
	onWay := make(chan struct{}, b.flags.inFlight)
	writers := make([]*packedWriter, 0, len(src.topics))
	defer func() {
		for _, w := range writers {
			// The answers to what was sent are waited for also when time is up.
			if closed := w.Close(); err == nil {
				err = closed
			}
			t.merge(w.tally)
		}
	}()
	for _, topic := range src.topics {
		w, err := b.flags.packedWriter(ctx, client, topic, src, onWay)
		if err != nil && ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		writers = append(writers, w)
	}
	now := time.Now()
	for i := 0; i == 0 || !b.over(ctx, now); i++ {
		onWay <- struct{}{} // the Writers end their batches also when they fail
		if now = time.Now(); b.over(ctx, now) && i > 0 {
			return nil
		}
		w := writers[i%len(writers)]
		w.begun <- now
		for _, body := range src.bodies {
			if _, err := w.Write(body); err != nil {
				return err
			}
		}
	}
	return nil
}

// packedWriter is a Writer to one topic and what it did.
type packedWriter struct {
	*logd.Writer
	tally *tally
	begun chan time.Time // when the batches that are on their way were begun, in order
}

// packedWriter returns a Writer that takes a value from onWay when a batch is over.
func (f *benchFlags) packedWriter(ctx context.Context, client *logd.Client, topic string, src *benchSource, onWay <-chan struct{}) (*packedWriter, error) {
	w := &packedWriter{tally: newTally(), begun: make(chan time.Time, f.inFlight)}
	size := max(int64(f.batchSize), 128) // the least that a Writer takes
	cfg := logd.WriterConfig{
		BatchBytes: size, BatchMessages: int64(len(src.bodies)), BatchAge: logd.Unlimited, Codec: f.codec,
		InFlight: f.inFlight, BufferBytes: int64(f.inFlight+2) * size,
		NoSequence: true, StopOnError: true, Backlog: backlog.None{},
		OnBatch: func(r logd.BatchResult) {
			begun := <-w.begun
			if r.Err == nil {
				w.tally.record(time.Since(begun))
				w.tally.bytes += src.length
				w.tally.stored += int64(len(r.Raw))
				w.tally.messages += r.Messages
				w.tally.batches++
			}
			<-onWay
		},
	}
	var err error
	w.Writer, err = logd.NewWriter(ctx, client, topic, cfg)
	return w, err
}

// text makes lines that get about as short as those of logs do: of phrases that come
// again, some often, and of numbers. Each one makes the same lines.
type text struct{ rand *rand.Rand }

func newText() text { return text{rand.New(rand.NewPCG(1, 2))} }

// phrases are such as logs have. The first ones are used most.
var phrases = [...]string{
	"INFO request served status=200 ms=", "INFO connection accepted from client ", "DEBUG cache hit for session ",
	"INFO connection closed by client ", "INFO request served status=404 ms=", "DEBUG worker finished job ",
	"WARN retry after timeout, attempt ", "DEBUG cache miss for session ", "INFO block received of size ",
	"WARN queue is long: ", "INFO user logged in, uid=", "ERROR authentication failed for uid=",
}

// line returns a line of n bytes.
func (t text) line(n int) []byte {
	line := make([]byte, 0, n+64)
	for len(line) < n {
		phrase := phrases[t.rand.IntN(len(phrases))*t.rand.IntN(len(phrases))/len(phrases)]
		line = fmt.Appendf(line, "%s%d ", phrase, t.rand.IntN(10000))
	}
	return line[:n]
}

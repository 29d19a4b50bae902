package tests

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// numberedWriter sends numbered batches to whatever server there is, pipelined,
// and sends each again until it has an answer: over lost connections and killed
// servers.
type numberedWriter struct {
	pid     string
	rng     *rand.Rand
	acked   int64           // all up to it were answered OK
	most    int64           // was sent
	at      map[int64]int64 // offsets, as they were answered
	resends int             // of what was sent again
	ahead   int             // of what was sent too early, on purpose
	problem string

	answered *atomic.Int64 // how many more answers all writers are to get
	enough   chan struct{} // closed when they have them
}

// numberedWindow is how many batches a writer has without an answer, at most: as
// many as the server knows again.
const numberedWindow = 32

func (w *numberedWriter) wire(seq int64) string {
	body := fmt.Sprintf("%s %d", w.pid, seq)
	data := fmt.Sprintf("MSG %d\r\n%s\r\n", len(body), body)
	return fmt.Sprintf("BATCH %d t %d 1 pid=%s seq=%d\r\n%s", len(data), crc32.ChecksumIEEE([]byte(data)), w.pid, seq, data)
}

// use writes over one connection until it ends, or until stop is closed and all is
// answered.
func (w *numberedWriter) use(addr string, stop <-chan struct{}) (done bool) {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer nc.Close()
	in := bufio.NewReader(nc)
	for {
		from := w.acked + 1
		if w.rng.IntN(10) == 0 { // once more what was answered before
			// The server knows a writer's last ones only, and may have all that was sent.
			from = max(w.acked-w.rng.Int64N(5), w.most-numberedWindow+1, 1)
		}
		to := w.acked + 1 + w.rng.Int64N(numberedWindow)
		select {
		case <-stop:
			if to = w.acked; from > to {
				return true
			}
		default:
		}
		var out strings.Builder
		var seqs []int64
		if w.rng.IntN(20) == 0 {
			seqs = append(seqs, max(w.most, to)+5) // nothing may be stored of it
			w.ahead++
		}
		for seq := from; seq <= to; seq++ {
			seqs = append(seqs, seq)
		}
		for _, seq := range seqs {
			out.WriteString(w.wire(seq))
		}
		w.resends += int(max(min(w.most, to)-from+1, 0))
		w.most = max(w.most, to)
		nc.SetDeadline(time.Now().Add(patience))
		if _, err := nc.Write([]byte(out.String())); err != nil {
			return false
		}
		for _, seq := range seqs {
			line, err := in.ReadString('\n')
			if err != nil {
				return false
			}
			words := strings.Fields(line)
			switch {
			case len(words) == 3 && words[0] == "OK" && words[2] == "1" && seq <= to:
				offset, err := strconv.ParseInt(words[1], 10, 64)
				if before, ok := w.at[seq]; err != nil || ok && before != offset {
					w.problem = fmt.Sprintf("%s %d is at %q, and was at %d", w.pid, seq, words[1], before)
					return true
				}
				w.at[seq] = offset
				if seq > w.acked {
					w.acked = seq
					if w.answered.Add(-1) == 0 {
						close(w.enough)
					}
				}
			case strings.HasPrefix(line, "ERR out of order ") && seq > to:
			case strings.HasPrefix(line, "ERR busy") || strings.HasPrefix(line, "ERR shutting down"):
				return false // those behind it are out of order
			default:
				w.problem = fmt.Sprintf("%s %d, with all up to %d answered: %q", w.pid, seq, w.acked, line)
				return true
			}
		}
	}
}

// checkNumbered compares what is stored with what was answered: each batch of a
// writer is there once, in order, up to one that was sent last, and where the
// answer said.
func checkNumbered(batches []batch, writers []*numberedWriter) (problems []string) {
	last := make(map[string]int64)
	at := make(map[string]int64)
	for _, b := range batches {
		for _, m := range b.messages {
			pid, number, _ := strings.Cut(m.body, " ")
			seq, err := strconv.ParseInt(number, 10, 64)
			if err != nil || seq != last[pid]+1 {
				problems = append(problems, fmt.Sprintf("at %d: %q behind %d", b.offset, m.body, last[pid]))
			}
			last[pid] = seq
			at[m.body] = b.offset
		}
	}
	for _, w := range writers {
		if w.problem != "" {
			problems = append(problems, w.problem)
		}
		if n := last[w.pid]; n < w.acked || n > w.acked+numberedWindow {
			problems = append(problems, fmt.Sprintf("%s: %d are stored, %d were answered", w.pid, n, w.acked))
		}
		for seq, offset := range w.at {
			if got, ok := at[fmt.Sprintf("%s %d", w.pid, seq)]; !ok || got != offset {
				problems = append(problems, fmt.Sprintf("%s %d is at %d, %v, and was answered at %d", w.pid, seq, got, ok, offset))
			}
		}
	}
	return problems
}

// TestKillNumbered kills a server under writers of numbered batches, again and
// again, who send each batch until it is answered: in the end each is stored once,
// in order, where it was said to be.
func TestKillNumbered(t *testing.T) {
	t.Parallel()
	cycles := int(setting(t, "LOGD_KILL_CYCLES", 8))
	r := random(t)
	dir := filepath.Join(t.TempDir(), "data")
	var writers []*numberedWriter
	for i := range 8 {
		writers = append(writers, &numberedWriter{
			pid: fmt.Sprintf("w%d", i), at: make(map[int64]int64), rng: rand.New(rand.NewPCG(r.Uint64(), 0)),
		})
	}
	keep := []string{"--partitions", "100000"}
	for cycle := range cycles + 1 {
		flags := append(slices.Clone(keep), "--partition-size", []string{"64KiB", "100MiB"}[r.IntN(2)], "--flush-batches", fmt.Sprint(r.IntN(3)))
		s := start(t, dir, flags...)
		stop := make(chan struct{})
		var answered atomic.Int64
		answered.Store(1 + r.Int64N(2000))
		enough := make(chan struct{})
		var g sync.WaitGroup
		for _, w := range writers {
			w.answered, w.enough = &answered, enough
			g.Go(func() {
				for !w.use(s.addr, stop) && s.running() {
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(patience):
			t.Fatalf("%d answers are missing", answered.Load())
		}
		if cycle < cycles {
			s.kill()
			close(stop)
			g.Wait()
			continue
		}
		close(stop)
		g.Wait()
		batches := stored(t, s.addr, "t")
		for _, problem := range checkNumbered(batches, writers) {
			t.Error(problem)
		}
		resends, ahead := 0, 0
		for _, w := range writers {
			resends, ahead = resends+w.resends, ahead+w.ahead
		}
		t.Logf("%d kills, %d batches, %d sent again, %d too early", cycles, len(batches), resends, ahead)
		if resends == 0 {
			t.Error("nothing was sent again")
		}
		s.stop()
		if t.Failed() || len(batches) < 20 {
			return
		}
		// The control: what a log that does not know the numbers would have.
		for name, broken := range map[string][]batch{
			"one twice":   append(slices.Clone(batches), batches[len(batches)-1]),
			"one missing": slices.Delete(slices.Clone(batches), len(batches)/2, len(batches)/2+1),
		} {
			if len(checkNumbered(broken, writers)) == 0 {
				t.Errorf("%s is not found", name)
			}
		}
	}
}

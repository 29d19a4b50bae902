package logd

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/script"
)

// A batch that was never sent waits for a connection that takes it: it is not given
// up because the connection that was just found good is another one by then.
func TestWriterHeldBatchIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connections := 0
		settings := string(protocol.AppendBody(nil, protocol.AppendSettings(nil, &protocol.Settings{
			Host: fakeAddr, MaxBatchSize: DefaultMaxBatchSize, FlushBatches: 1,
		})))
		var first *script.Peer
		var got []string
		serve := func(p *script.Peer) {
			connections++
			number := connections
			if number == 1 {
				first = p
			}
			for {
				r, ok := p.Request()
				switch {
				case !ok || number == 2: // which hangs up while CONFIG is asked
					return
				case r.IsBatch():
					got = append(got, r.Messages()...)
					p.Answer("OK 0 1\r\n")
				default:
					p.Answer("%s", settings)
				}
			}
		}
		net, ccfg := fake(t, serve)
		net.serve("other:1774", serve)
		ccfg.Addrs = append(ccfg.Addrs, "other:1774")
		w := openWriter(t, ccfg, WriterConfig{RequireSync: true, Backlog: backlog.None{}})
		synctest.Wait()
		first.Close()
		synctest.Wait()
		write(t, w, "a")
		if err := w.Flush(t.Context()); err != nil || strings.Join(got, " ") != "a" || w.Stats().Lost != 0 {
			t.Errorf("Flush: %v; stored %q over %d connections, %d lost", err, got, connections, w.Stats().Lost)
		}
	})
}

// Nothing is sent behind a batch that the Client has refused without sending it,
// above all with StopOnError.
func TestWriterStopsOnWhatIsNotSent(t *testing.T) {
	for _, stop := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &script.Log{OnOther: func(script.Request) string { return "OK\r\n" }}
			var first *script.Peer
			_, ccfg := fake(t, func(p *script.Peer) {
				if first == nil {
					first = p
				}
				s.Serve(p)
			})
			c := dialTest(t, ccfg)
			entered, leave := make(chan struct{}), make(chan struct{})
			cfg := WriterConfig{BatchBytes: 1000, BatchTarget: 200, BatchAge: -1, InFlight: 4, StopOnError: stop}
			cfg.OnBatch = func(r BatchResult) {
				if r.Err == nil && r.Messages == 1 && entered != nil {
					close(entered)
					entered = nil
					<-leave
				}
			}
			w, err := NewWriter(t.Context(), c, "t", cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			begun := entered
			write(t, w, "x")
			go w.Flush(t.Context())
			<-begun
			// The Writer's goroutine is kept busy while the Client gets another
			// connection, to a server that takes less and was asked for that.
			s.SetMaxBatchSize(200)
			first.Close()
			synctest.Wait()
			if _, err := c.Append(t.Context(), "t", batchOf(strings.Repeat("y", 100))); err != nil {
				t.Fatal(err)
			}
			write(t, w, strings.Repeat("z", 300), "b")
			go w.Flush(t.Context())
			synctest.Wait()
			close(leave)
			synctest.Wait()
			if strings.Contains(s.String(), "b") {
				t.Errorf("StopOnError %v: what is behind the batch is stored", stop)
			}
			if w.State() != StateFailing {
				t.Errorf("it is %v", w.State())
			}
		})
	}
}

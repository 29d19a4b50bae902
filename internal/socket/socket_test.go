package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Who takes little at a time, and gets on, is sent all of it, however long that takes.
// Who takes nothing is not waited for.
func TestDeadlines(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	for name, write := range map[string]func(w *Writer) error{
		"bytes":   func(w *Writer) error { return w.Write(data, false) },
		"section": func(w *Writer) error { return w.Section(bytes.NewReader(data), 0, int64(len(data))) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				var w Writer
				var counters Counters
				w.Init(a, 10*time.Second, &counters, func(int) {})
				var got []byte
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					p := make([]byte, 64<<10)
					for {
						time.Sleep(time.Second)
						n, err := io.ReadFull(b, p)
						got = append(got, p[:n]...)
						if err != nil {
							return
						}
					}
				}()
				began := time.Now()
				if err := write(&w); err != nil {
					t.Fatalf("%v after %v", err, time.Since(began))
				}
				if d := time.Since(began); d < 30*time.Second || counters.Bytes.Load() != int64(len(data)) {
					t.Errorf("%d bytes in %v", counters.Bytes.Load(), d)
				}
				a.Close()
				<-ended
				if !bytes.Equal(got, data) {
					t.Errorf("%d bytes have arrived, or others", len(got))
				}

				a, b = net.Pipe()
				defer b.Close()
				w.Init(a, 10*time.Second, &counters, func(int) {})
				began = time.Now()
				if err := write(&w); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 11*time.Second {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				a.Close()
			})
		})
	}
}

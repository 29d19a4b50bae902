package logd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
)

// printTopic prints the messages that a topic has.
func printTopic(client *logd.Client, topic string) {
	s, err := logd.NewScanner(context.Background(), client, topic, logd.ScannerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for s.Scan() {
		fmt.Printf("%s\n", s.Message().Body)
	}
	if err := s.Err(); err != nil {
		log.Fatal(err)
	}
}

// An event log: every event is a message.
func ExampleWriter() {
	addr, stop := startExample()
	defer stop()
	ctx := context.Background()
	client := connect(addr)
	defer client.Close()

	w, err := logd.NewWriter(ctx, client, "events", logd.WriterConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		if _, err := fmt.Fprintf(w, "event %d", i); err != nil { // one Write, one message
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil { // delivers what is pending
		log.Fatal(err)
	}

	printTopic(client, "events")
	// Output:
	// event 0
	// event 1
	// event 2
}

// Each message's fate is told when its batch is answered.
func ExampleWriter_WriteFunc() {
	addr, stop := startExample()
	defer stop()
	ctx := context.Background()
	client := connect(addr)
	defer client.Close()
	w, err := logd.NewWriter(ctx, client, "orders", logd.WriterConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	err = w.WriteFunc(ctx, []byte("an order"), func(r logd.WriteResult) {
		switch {
		case r.Err == nil:
			fmt.Printf("stored at %d.%d\n", r.Offset, r.Delta)
		case errors.Is(r.Err, logd.ErrBacklogged):
			fmt.Println("kept, and delivered later:", r.Err)
		default:
			fmt.Println("lost:", r.Err)
		}
	})
	if err != nil {
		log.Fatal(err) // not taken; the callback is not called
	}
	if err := w.Flush(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// stored at 0.0
}

// Messages are written, and named when all of them are stored.
func ExampleWriter_WriteSync() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	w, err := logd.NewWriter(context.Background(), client, "orders", logd.WriterConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	order := func(ctx context.Context) error {
		results, err := w.WriteSync(ctx, []byte("an order"), []byte("its payment"))
		if err != nil {
			return err
		}
		fmt.Println("stored as", results[0].ID(), "and", results[1].ID())
		return nil
	}
	if err := order(context.Background()); err != nil {
		log.Fatal(err)
	}

	// Output:
	// stored as 0.0 and 0.17
}

// Package log writes to a topic.
func ExampleWriter_log() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()

	w, err := logd.NewWriter(context.Background(), client, "app", logd.WriterConfig{TrimNewline: true})
	if err != nil {
		log.Fatal(err)
	}
	logger := log.New(w, "app: ", 0) // or log.SetOutput(w)
	logger.Print("started")
	logger.Printf("%d workers", 3)
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	printTopic(client, "app")
	// Output:
	// app: started
	// app: 3 workers
}

// Records of log/slog become JSON messages.
func ExampleNewSlogHandler() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()

	w, err := logd.NewWriter(context.Background(), client, "app", logd.WriterConfig{
		WhenFull: logd.DropNewest, // logging must not stop the program
	})
	if err != nil {
		log.Fatal(err)
	}
	logger := slog.New(logd.NewSlogHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	logger.Info("order stored", "id", 17)
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	printTopic(client, "app")
	// Output:
	// {"level":"INFO","msg":"order stored","id":17}
}

// A log that never makes the program wait, also while the server is down.
func ExampleNewLogWriter() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()

	w, err := logd.NewLogWriter(client, "app", func(cfg *logd.WriterConfig) {
		cfg.OnError = func(err error) { fmt.Fprintln(os.Stderr, err) }
	})
	if err != nil {
		log.Fatal(err)
	}
	logger := slog.New(logd.NewSlogHandler(w, nil))
	logger.Info("started")

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.CloseContext(ctx); err != nil { // delivers what is pending
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println("delivered:", w.Stats().Delivered)
	// Output:
	// delivered: 1
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// Log shipping: lines go to a topic, also while the server is away and over
// restarts of the shipper.
func ExampleWriterConfig_disk() {
	addr, stop := startExample()
	defer stop()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "shipper-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ship := func(lines io.Reader, addr string) error {
		client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{addr}, ReconnectAttempts: 1})
		if err != nil {
			return err
		}
		defer client.Close()
		kept, err := backlog.OpenDisk(backlog.DiskConfig{Path: filepath.Join(dir, "backlog")})
		if err != nil {
			return err // a damaged backlog is not an empty one
		}
		defer kept.Close()
		w, err := logd.NewWriter(ctx, client, "syslog", logd.WriterConfig{
			Backlog:           kept,
			WriteWhileFailing: true, // to the backlog
		})
		if err != nil {
			return err
		}
		for in := bufio.NewScanner(lines); in.Scan(); {
			if _, err := w.Write(in.Bytes()); err != nil {
				return errors.Join(err, w.Close())
			}
		}
		return w.Close()
	}

	nowhere := "127.0.0.1:1" // where no server is
	err = ship(strings.NewReader("first\nsecond\n"), nowhere)
	fmt.Println("delivered:", err == nil)
	err = ship(strings.NewReader("third\n"), addr)
	fmt.Println("delivered:", err == nil)

	client := connect(addr)
	defer client.Close()
	printTopic(client, "syslog")
	// Output:
	// delivered: false
	// delivered: true
	// first
	// second
	// third
}

// What a Writer can't deliver, and the states it goes through, can be watched.
func ExampleWriterConfig() {
	cfg := logd.WriterConfig{
		BatchAge:    50 * time.Millisecond,
		InFlight:    1, // the order of writing, whatever happens
		BufferBytes: 16 << 20,
		WhenFull:    logd.Fail,
		OnError: func(err error) {
			log.Print(err)
		},
		OnBatch: func(r logd.BatchResult) {
			if r.Err == nil {
				log.Printf("%d messages are stored at %d", r.Messages, r.Offset)
			}
		},
		OnState: func(state logd.WriterState, cause error) {
			log.Print("writer is ", state, ": ", cause)
		},
	}
	fmt.Println(cfg.Validate())
	// Output:
	// <nil>
}

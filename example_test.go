package logd_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// exampleTest lets examples, which are no tests, start a server.
type exampleTest struct {
	testing.TB
	dir      string
	cleanups []func()
}

func (t *exampleTest) Helper()                   {}
func (t *exampleTest) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *exampleTest) TempDir() string           { return t.dir }
func (t *exampleTest) Errorf(f string, a ...any) { log.Printf(f, a...) }
func (t *exampleTest) Fatalf(f string, a ...any) { log.Panicf(f, a...) }

// startExample starts a server for an example and returns its address.
func startExample() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "logd-example-")
	if err != nil {
		panic(err)
	}
	t := &exampleTest{dir: dir}
	server := logdtest.Start(t)
	return server.Addr(), func() {
		for _, f := range t.cleanups {
			f()
		}
		os.RemoveAll(dir)
	}
}

// write is what the programs of the examples have written before, each message
// in a batch of its own, whose offsets it returns.
func write(client *logd.Client, topic string, bodies ...string) (offsets []int64) {
	for _, body := range bodies {
		var batch logd.Batch
		batch.Add([]byte(body))
		offset, err := client.Append(context.Background(), topic, &batch)
		if err != nil {
			panic(err)
		}
		offsets = append(offsets, offset)
	}
	return offsets
}

func connect(addr string) *logd.Client {
	client, err := logd.Dial(context.Background(), logd.ClientConfig{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	return client
}

// A batch is appended and its messages are read.
func Example() {
	addr, stop := startExample()
	defer stop()
	ctx := context.Background()

	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{addr}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var batch logd.Batch
	batch.Add([]byte("hello"))
	batch.Add([]byte("world"))
	offset, err := client.Append(ctx, "greetings", &batch)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored at", offset)

	s, err := logd.NewScanner(ctx, client, "greetings", logd.ScannerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for s.Scan() {
		m := s.Message()
		fmt.Printf("%d.%d %s\n", m.Offset, m.Delta, m.Body)
	}
	if err := s.Err(); err != nil {
		log.Fatal(err)
	}

	// Output:
	// stored at 0
	// 0.0 hello
	// 0.14 world
}

// Many batches are on their way at once; each answer is waited for later.
func ExampleClient_StartAppend() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()

	batches := make([]logd.Batch, 3)
	pending := make([]logd.Pending, len(batches))
	for i := range batches {
		batches[i].Add(fmt.Appendf(nil, "message %d", i))
		if err := client.StartAppend(ctx, "t", &batches[i], &pending[i]); err != nil {
			log.Fatal(err)
		}
	}
	for i := range pending {
		offset, err := pending[i].Wait(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("stored at", offset)
	}

	// Output:
	// stored at 0
	// stored at 43
	// stored at 85
}

// What to do about an append that has failed depends on whether the batch may
// be stored all the same.
func ExampleIsUnknown() {
	addr, stop := startExample()
	stop() // the server is away for good
	client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{addr}, ReconnectAttempts: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var batch logd.Batch
	batch.Add([]byte("hello"))
	_, err = client.Append(context.Background(), "greetings", &batch)
	switch {
	case err == nil:
		fmt.Println("stored")
	case logd.IsUnknown(err):
		fmt.Println("perhaps stored: look, or repeat and tell readers how to find doubles")
	case logd.IsRetryable(err):
		fmt.Println("not stored: try again later")
	default:
		fmt.Println("not stored, and never will be:", err)
	}
	fmt.Println("could not connect:", errors.Is(err, logd.ErrConnect))

	// Output:
	// not stored: try again later
	// could not connect: true
}

// A topic is described.
func ExampleClient_Info() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	write(client, "t", "one", "two", "three")

	info, err := client.Info(context.Background(), "t")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d messages in %d batches, offsets %d to %d\n", info.Messages, info.Batches, info.Oldest, info.Next)
	fmt.Println("written this hour:", time.Since(info.OldestTime) < time.Hour)

	// Output:
	// 3 messages in 3 batches, offsets 0 to 113
	// written this hour: true
}

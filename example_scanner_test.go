package logd_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/progress"
)

// What a topic has at the moment is read from the oldest message to the end.
func ExampleScanner() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	write(client, "greetings", "hello", "world")

	s, err := logd.NewScanner(ctx, client, "greetings", logd.ScannerConfig{})
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

	// Output:
	// hello
	// world
}

// All ranges over the messages for as long as a context allows.
func ExampleScanner_All() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	write(client, "greetings", "hello", "world")

	read := func(ctx context.Context) error {
		s, err := logd.NewScanner(ctx, client, "greetings", logd.ScannerConfig{})
		if err != nil {
			return err
		}
		defer s.Close()
		for m, err := range s.All(ctx) {
			if err != nil {
				return err
			}
			fmt.Printf("%v: %s\n", m.ID(), m.Body)
		}
		return nil
	}
	if err := read(context.Background()); err != nil {
		log.Fatal(err)
	}

	// Output:
	// 0.0: hello
	// 47.0: world
}

// Publish and subscribe: every subscriber follows the topic by itself, from the
// moment on at which its Scanner is made, and gets every message.
func ExampleScanner_publishSubscribe() {
	addr, stop := startExample()
	defer stop()
	ctx := context.Background()
	client, err := logd.Dial(ctx, logd.ClientConfig{
		Addrs:             []string{addr},
		ReconnectAttempts: logd.Unlimited, // followers outlast any absence of the server
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	write(client, "news", "of yesterday")

	var subscribers sync.WaitGroup
	got := make([]string, 2)
	for i := range got {
		s, err := logd.NewScanner(ctx, client, "news", logd.ScannerConfig{
			Start:  logd.AtNext(),
			Follow: true,
			Limit:  2, // to come to an end here; otherwise Close does
		})
		if err != nil {
			log.Fatal(err)
		}
		subscribers.Go(func() {
			defer s.Close()
			for s.Scan() {
				got[i] += fmt.Sprintf(" %q", s.Message().Body)
			}
			if err := s.Err(); err != nil {
				log.Print(err)
			}
		})
	}
	write(client, "news", "of today", "of this hour")
	subscribers.Wait()
	for i := range got {
		fmt.Printf("subscriber %d:%s\n", i, got[i])
	}

	// Output:
	// subscriber 0: "of today" "of this hour"
	// subscriber 1: "of today" "of this hour"
}

// A work queue: a file remembers which messages are done, so that a
// program that is started again goes on where the last one has left off, and
// takes up again what has failed.
func ExampleScannerConfig_progressFile() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "jobs-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	write(client, "jobs", "first", "second", "third")

	run := func(work func(job string) error) error {
		done, err := progress.OpenFile(progress.FileConfig{Path: filepath.Join(dir, "jobs.progress")})
		if err != nil {
			return err // a damaged file is not a new beginning
		}
		defer done.Close()
		s, err := logd.NewScanner(ctx, client, "jobs", logd.ScannerConfig{Progress: done})
		if err != nil {
			return err
		}
		defer s.Close()
		for s.Scan() {
			m := s.Message()
			failed := work(string(m.Body))
			if err := s.Done(m, failed); err != nil {
				return err
			}
			if failed != nil {
				return failed
			}
		}
		return s.Err()
	}

	err = run(func(job string) error {
		if job == "second" {
			return errors.New("no paper")
		}
		fmt.Println("done:", job)
		return nil
	})
	fmt.Println("stopped:", err)
	err = run(func(job string) error {
		fmt.Println("done:", job)
		return nil
	})
	fmt.Println("stopped:", err)

	// Output:
	// done: first
	// stopped: no paper
	// done: second
	// done: third
	// stopped: <nil>
}

// Several workers share the messages of one Scanner, and complete them in any
// order.
func ExampleScannerConfig_progressMemory() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	write(client, "jobs", "1", "2", "3", "4", "5")

	done := new(progress.Memory)
	s, err := logd.NewScanner(ctx, client, "jobs", logd.ScannerConfig{Progress: done})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	jobs := make(chan logd.Message)
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for m := range jobs {
				// … work on m.Body, then:
				if err := s.Done(m, nil); err != nil {
					log.Print(err)
				}
			}
		})
	}
	for s.Scan() {
		jobs <- s.Message().Copy() // the Scanner uses the memory again
	}
	close(jobs)
	workers.Wait()
	if err := s.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("all done:", done.Peek() == logd.AtOffset(s.NextOffset()))

	// Output:
	// all done: true
}

// A range of a topic is read: from the batch at one offset to before the one at
// another.
func ExampleAtOffset() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	offsets := write(client, "t", "a", "b", "c", "d", "e")
	from, to := offsets[1], offsets[4]

	s, err := logd.NewScanner(ctx, client, "t", logd.ScannerConfig{Start: logd.AtOffset(from)})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for s.Scan() && s.Message().Offset < to {
		fmt.Printf("%s\n", s.Message().Body)
	}
	if err := s.Err(); err != nil {
		log.Fatal(err)
	}

	// Output:
	// b
	// c
	// d
}

// What was written in the last ten minutes is read.
func ExampleAtTime() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	write(client, "t", "fresh", "fresher")

	s, err := logd.NewScanner(ctx, client, "t", logd.ScannerConfig{
		Start: logd.AtTime(time.Now().Add(-10 * time.Minute)),
	})
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

	// Output:
	// fresh
	// fresher
}

// The last messages of a topic.
func ExampleLast() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	write(client, "t", "a", "b", "c", "d")

	s, err := logd.NewScanner(ctx, client, "t", logd.ScannerConfig{Start: logd.Last(2)})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for m, err := range s.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", m.Body)
	}

	// Output:
	// c
	// d
}

// The ways in which a Scanner comes to its end.
func ExampleScanner_End() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	write(client, "t", "a", "b")

	for _, start := range []logd.Position{logd.AtOldest(), logd.AtNext(), logd.AtOffset(7), logd.AtOffset(1000)} {
		s, err := logd.NewScanner(ctx, client, "t", logd.ScannerConfig{Start: start})
		if err != nil {
			log.Fatal(err)
		}
		for s.Scan() {
		}
		switch s.End() {
		case logd.EndOfLog:
			fmt.Println("read to the end")
		case logd.EndEmpty:
			fmt.Println("the topic is empty")
		case logd.EndFailed:
			var gone *logd.GoneError
			var bad *logd.OffsetError
			switch err := s.Err(); {
			case errors.As(err, &gone):
				fmt.Println("removed or damaged; what is left goes on at", gone.Oldest)
			case errors.As(err, &bad):
				fmt.Println(bad)
			default:
				fmt.Println(err)
			}
		}
		s.Close()
	}

	// Output:
	// read to the end
	// read to the end
	// offset 7 is not the beginning of a batch
	// offset 1000 is beyond the end, 70
}

// A reader that may lose what it is too late for goes on behind the gap, and
// takes note of it.
func ExampleScannerConfig_gaps() {
	addr, stop := startExample()
	defer stop()
	client := connect(addr)
	defer client.Close()
	ctx := context.Background()
	write(client, "t", "a")

	s, err := logd.NewScanner(ctx, client, "t", logd.ScannerConfig{
		Start: logd.AtOffset(0),
		OnGone: func(gone *logd.GoneError) error {
			log.Printf("lost: offsets %d to %d", gone.Offset, gone.Oldest)
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for s.Scan() {
		fmt.Printf("%s\n", s.Message().Body)
	}

	// Output:
	// a
}

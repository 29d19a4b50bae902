package logdtest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// report is the program that is to be tested: it writes once an hour how many
// jobs there were, until ctx ends.
func report(ctx context.Context, client *logd.Client) error {
	w, err := logd.NewWriter(ctx, client, "reports", logd.WriterConfig{})
	if err != nil {
		return err
	}
	for tick := time.NewTicker(time.Hour); ; {
		select {
		case <-ctx.Done():
			return w.Close()
		case <-tick.C:
		}
		jobs, err := messages(ctx, client, "jobs")
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%d jobs", len(jobs))
	}
}

// messages returns what is in a topic.
func messages(ctx context.Context, client *logd.Client, topic string) (all []string, err error) {
	s, err := logd.NewScanner(ctx, client, topic, logd.ScannerConfig{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for s.Scan() {
		all = append(all, string(s.Message().Body))
	}
	return all, s.Err()
}

// testReport is to be read as func TestReport(t *testing.T).
var testReport func(t *testing.T)

// A program is tested with a real server, in a bubble: the hours of this test pass
// in an instant, and a program that hangs fails it at once.
func Example_bubble() {
	testReport = func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			network := memnet.New(t)
			server := logdtest.Start(t, logdtest.On(network))
			client := server.Client(t)

			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- report(ctx, client) }()

			w, err := logd.NewWriter(ctx, client, "jobs", logd.WriterConfig{})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(w, "one")
			fmt.Fprint(w, "two")
			time.Sleep(90 * time.Minute)
			server.Restart() // every connection is lost, and the clients find a new one
			fmt.Fprint(w, "three")
			time.Sleep(time.Hour)
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}

			reports, err := messages(t.Context(), client, "reports")
			if want := []string{"2 jobs", "3 jobs"}; err != nil || !slices.Equal(reports, want) {
				t.Errorf("the reports are %q, %v; want %q", reports, err, want)
			}
		})
	}
}

func TestExampleBubble(t *testing.T) {
	Example_bubble()
	testReport(t)
}

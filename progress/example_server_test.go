package progress_test

import (
	"context"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/progress"
)

// A worker of which several run, on as many machines: one works, the others wait until it
// has ended.
func ExampleServer() {
	_ = func(ctx context.Context, client *logd.Client, work func(logd.Message) error) error {
		done, err := progress.NewServer(client, "jobs", "mailer", progress.ServerConfig{Hold: 30 * time.Second})
		if err != nil {
			return err
		}
		defer done.Close()
		s, err := logd.NewScanner(ctx, client, "jobs", logd.ScannerConfig{Progress: done, Follow: true})
		if err != nil {
			return err
		}
		defer s.Close()
		for s.Scan() {
			if err := s.Done(s.Message(), work(s.Message())); err != nil {
				return err // progress.ErrMoved: an operator has moved it
			}
		}
		return s.Err()
	}
}

// Worker does each message of a topic: worker TOPIC CONSUMER NAME
//
// Of several workers with the same CONSUMER one works, and the others stand by. How far
// they have come is kept on the server: after a crash another one goes on there, and
// repeats what was done in the last second.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	addrs := cmp.Or(os.Getenv("LOGD_CLI_HOST"), logd.DefaultAddr)
	client, err := logd.NewClient(logd.ClientConfig{Addrs: strings.Split(addrs, ","), ReconnectAttempts: logd.Unlimited})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		err := work(ctx, client, os.Args[1], os.Args[2], os.Args[3])
		switch {
		case errors.Is(err, progress.ErrMoved):
			log.Print("an operator has moved it") // and the next turn goes on there
		case err != nil && ctx.Err() == nil:
			log.Fatal(err)
		}
	}
}

func work(ctx context.Context, client *logd.Client, topic, consumer, name string) error {
	done, err := progress.NewServer(client, topic, consumer, progress.ServerConfig{Hold: 10 * time.Second, As: name})
	if err != nil {
		return err
	}
	defer done.Close()
	s, err := logd.NewScanner(ctx, client, topic, logd.ScannerConfig{Follow: true, Progress: done})
	if err != nil {
		return err
	}
	defer s.Close()
	for m, err := range s.All(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s does %s\n", name, m.Body)
		if err := s.Done(m, nil); err != nil {
			return err
		}
	}
	return nil
}

// Follower prints messages as they come: follower TOPIC [AFTER]
//
// AFTER is the id of the last message that was seen, as it was printed: the program goes
// on behind it. Without it, it begins with the oldest message.
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

	"github.com/logd-dev/logd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2:]); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, topic string, after []string) error {
	cfg := logd.ScannerConfig{Follow: true, AwaitTopic: true, OnGone: func(gone *logd.GoneError) error {
		log.Print("lost: ", gone)
		return nil
	}}
	if len(after) > 0 {
		var id logd.ID
		if err := id.UnmarshalText([]byte(after[0])); err != nil {
			return err
		}
		cfg.Start = logd.After(id)
	}
	addrs := cmp.Or(os.Getenv("LOGD_CLI_HOST"), logd.DefaultAddr)
	client, err := logd.NewClient(logd.ClientConfig{Addrs: strings.Split(addrs, ","), ReconnectAttempts: logd.Unlimited})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := logd.NewScanner(ctx, client, topic, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	for m, err := range s.All(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", m.ID(), m.Body)
	}
	return nil
}

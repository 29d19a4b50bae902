// Shares does a share of a topic's messages: shares TOPIC CONSUMER NAME N
//
// Start as many as there are shares, N, and some more to stand by. Messages with the same
// first word are done in order, by one worker at a time.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	n, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	addrs := cmp.Or(os.Getenv("LOGD_CLI_HOST"), logd.DefaultAddr)
	client, err := logd.NewClient(logd.ClientConfig{Addrs: strings.Split(addrs, ","), ReconnectAttempts: logd.Unlimited})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := work(ctx, client, os.Args[1], os.Args[2], os.Args[3], n); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// key is what the messages have in common that are to be done in order.
func key(m logd.Message) []byte {
	word, _, _ := bytes.Cut(m.Body, []byte(" "))
	return word
}

func work(ctx context.Context, client *logd.Client, topic, consumer, name string, n int) error {
	share, err := progress.Share(ctx, client, topic, consumer, n, key) // waits until one is free
	if err != nil {
		return err
	}
	defer share.Close()
	s, err := logd.NewScanner(ctx, client, topic, logd.ScannerConfig{Follow: true, Progress: share})
	if err != nil {
		return err
	}
	defer s.Close()
	for m, err := range s.All(ctx) { // each worker reads all, and does what is its own
		if err != nil {
			return err
		}
		if share.Mine(m) {
			fmt.Printf("%s does %s\n", name, m.Body)
		}
		if err := s.Done(m, nil); err != nil {
			return err
		}
	}
	return nil
}

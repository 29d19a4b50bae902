// Producer stores lines: producer TOPIC [LINE…], or the lines of standard input.
//
// Each message is stored once and in order, also if the server is restarted meanwhile.
package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/logd-dev/logd"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, topic string, lines []string) error {
	addrs := cmp.Or(os.Getenv("LOGD_CLI_HOST"), logd.DefaultAddr)
	client, err := logd.NewClient(logd.ClientConfig{Addrs: strings.Split(addrs, ",")})
	if err != nil {
		return err
	}
	defer client.Close()
	w, err := logd.NewWriter(ctx, client, topic, logd.WriterConfig{})
	if err != nil {
		return err
	}
	stored := func(r logd.WriteResult) {
		if r.Err != nil {
			log.Print(r.Err)
			return
		}
		fmt.Println(logd.ID{Offset: r.Offset, Delta: r.Delta})
	}
	for _, line := range lines {
		if err := w.WriteFunc(ctx, []byte(line), stored); err != nil {
			return err
		}
	}
	if len(lines) == 0 {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			if err := w.WriteFunc(ctx, in.Bytes(), stored); err != nil {
				return err
			}
		}
		if err := in.Err(); err != nil {
			return err
		}
	}
	return w.Close()
}

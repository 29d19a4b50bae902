package tests

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestReaderLeavesLateAnswers has a reader ask a member that is stopped for longer than the
// reader waits: what it answers then is not the answer to what was asked since.
func TestReaderLeavesLateAnswers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			asked := make(chan string, 100)
			var member sync.WaitGroup
			member.Go(func() {
				defer close(asked)
				for in := bufio.NewScanner(server); in.Scan(); {
					asked <- in.Text()
				}
			})
			member.Go(func() {
				defer server.Close()
				for line := range asked {
					body := "Next: 10\r\n"
					switch {
					case strings.HasPrefix(line, "READ"):
						fmt.Fprint(server, "ERR not found\r\n")
						continue
					case strings.HasSuffix(line, "fresh=1"):
						body = "Next: 20\r\n"
					default:
						time.Sleep(300 * time.Millisecond) // while it waits for what it asks then
					}
					fmt.Fprintf(server, "MOK %d\r\n%s\r\n", len(body), body)
				}
			})
			l := &traffic{c: &cluster{}, topics: []string{"t"}, begun: time.Now(), stop: make(chan struct{})}
			f := &follower{l: l, rng: rand.New(rand.NewPCG(seed, 1)), next: 10}
			f.use(client, &router{})
			client.Close()
			member.Wait()
			for _, k := range f.looks {
				if k.next != 20 {
					t.Errorf("seed %d: fresh=1 is taken to be answered with %d, which was the answer to a question before", seed, k.next)
				}
			}
			if len(f.problems) > 0 {
				t.Errorf("seed %d: %q", seed, f.problems)
			}
		})
	}
}

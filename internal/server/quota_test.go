package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// quotas is a policy of identities that may do everything, and their quotas: "name: key
// = value; key = value". The token of each is its name and "-token".
func quotas(t testing.TB, identities ...string) server.Policy {
	t.Helper()
	var b strings.Builder
	b.WriteString("version = 1\n")
	for _, text := range identities {
		name, keys, _ := strings.Cut(text, ": ")
		fmt.Fprintf(&b, "[[identity]]\nname = %q\nallow = [\"read,write,create,admin,monitor *\"]\n", name)
		if name != auth.Anonymous {
			fmt.Fprintf(&b, "tokens = [%q]\n", auth.Sum([]byte(name+"-token")))
		}
		b.WriteString(strings.ReplaceAll(keys, "; ", "\n") + "\n")
	}
	p, err := auth.Parse("auth.toml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return policy{p}
}

func withQuotas(t testing.TB, identities ...string) *server.Auth {
	return server.NewAuth(quotas(t, identities...), new(auth.Failures), slog.New(slog.DiscardHandler))
}

// sized returns a batch of so many bytes, its line included.
func sized(t testing.TB, topic string, size int) string {
	t.Helper()
	for n := size - 16; n > size-64 && n > 0; n-- {
		for letter := 'a'; letter <= 'z'; letter++ { // their checksums have more digits or fewer
			if b := testkit.Batch(topic, strings.Repeat(string(letter), n)); len(b) == size {
				return b
			}
		}
	}
	t.Fatalf("no batch has %d bytes", size)
	return ""
}

// as connects as somebody.
func as(t testing.TB, s *server.Server, name string) *client {
	t.Helper()
	c := connect(t, s)
	if name != "" {
		c.ask("AUTH "+name+"-token\r\n", "OK")
	}
	return c
}

// took does something and wants it to take so long.
func took(t testing.TB, want time.Duration, f func()) {
	t.Helper()
	begun := time.Now()
	f()
	if got := time.Since(begun).Round(time.Millisecond); got != want {
		t.Errorf("it took %v, want %v", got, want)
	}
}

// write writes a batch of so many bytes and wants its answer to begin so.
func (c *client) write(topic string, size int, want string) {
	c.t.Helper()
	c.send(sized(c.t, topic, size))
	c.wantLine(want)
}

func (c *client) wantLine(want string) {
	c.t.Helper()
	if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("received %q (%v), want %s", line, err, want)
	}
}

func wantThrottled(t testing.TB, s *server.Server, kind string, want int64) {
	t.Helper()
	if got := s.Stats().Throttled[kind]; got != want {
		t.Errorf("%d throttled by %s, want %d", got, kind, want)
	}
}

// TestWriteQuotas: who sends more than a rate has to wait, or is refused, whether the
// rate is that of an identity or of a topic. A stranger to the quota waits for nothing.
func TestWriteQuotas(t *testing.T) {
	for _, test := range []struct {
		kind      string
		o         server.Options
		bystander func(t testing.TB, s *server.Server) (c *client, topic string)
	}{
		{"write", server.Options{Auth: withQuotas(t, "a: write-rate = 1000", "b: connections = 9")},
			func(t testing.TB, s *server.Server) (*client, string) { return as(t, s, "b"), "t" }},
		{"topic", server.Options{Auth: withQuotas(t, "a", "b"), TopicWriteRate: 1000},
			func(t testing.TB, s *server.Server) (*client, string) { return as(t, s, "a"), "other" }},
	} {
		t.Run(test.kind, func(t *testing.T) {
			test.o.Timeout, test.o.IdleTimeout = 20*time.Second, time.Hour
			inBubble(t, test.o, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
				c, d := as(t, s, "a"), as(t, s, "a")
				stays, other := test.bystander(t, s)
				took(t, 0, func() { c.write("t", 1000, "OK") })
				wantThrottled(t, s, test.kind, 0)
				took(t, time.Second, func() { c.write("t", 1000, "OK") })
				wantThrottled(t, s, test.kind, 1)
				took(t, time.Second, func() { d.write("t", 1000, "OK") }) // which all its connections share

				time.Sleep(time.Second)
				took(t, 0, func() { c.write("t", 7000, "OK") }) // a full bucket admits anything
				took(t, 0, func() { d.write("t", 1000, "ERR busy") })
				took(t, 0, func() { d.write("t", 1000, "ERR busy") }) // which costs nothing
				took(t, 0, func() { d.ask("PING\r\n", "OK") })
				time.Sleep(2 * time.Second)
				took(t, 5*time.Second, func() { d.write("t", 1000, "OK") })

				c.send(sized(t, "t", 1000))
				synctest.Wait()
				took(t, 0, func() {
					for range 3 {
						stays.write(other, 100, "OK")
					}
					stays.ask("INFO nothing\r\n", "ERR not found")
				})
				took(t, time.Second, func() { c.wantLine("OK") })

				time.Sleep(time.Second)
				took(t, 0, func() { c.write("t", 100, "OK"); c.write("t", 100, "OK"); c.write("t", 100, "OK") })
				took(t, 24*time.Millisecond, func() { c.write("t", 100, "OK") }) // 4 of 256
			})
		})
	}
}

// TestBothQuotas: a batch that one quota refuses takes nothing of the other.
func TestBothQuotas(t *testing.T) {
	o := server.Options{Auth: withQuotas(t, "a: write-rate = 1000", "b: write-rate = 1000"), TopicWriteRate: 1000, IdleTimeout: time.Hour}
	inBubble(t, o, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		a, b := as(t, s, "a"), as(t, s, "b")
		a.write("t", 9000, "OK")
		took(t, 0, func() { b.write("t", 1000, "ERR busy") }) // by the topic
		took(t, 0, func() { b.write("u", 1000, "OK") })
		took(t, 0, func() { a.write("v", 1000, "ERR busy") }) // by who writes
		took(t, 0, func() { as(t, s, "b").ask("PING\r\n", "OK") })
		time.Sleep(time.Second)
		took(t, 0, func() { b.write("v", 1000, "OK") })
		wantThrottled(t, s, "topic", 1)
		wantThrottled(t, s, "write", 1)
	})
}

// TestReadQuota: answers are owed, and the next request waits for it.
func TestReadQuota(t *testing.T) {
	o := server.Options{Auth: withQuotas(t, "a: read-rate = 1000", "b"), IdleTimeout: time.Hour}
	inBubble(t, o, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		a, b := as(t, s, "a"), as(t, s, "b")
		data := sized(t, "t", 3000)
		took(t, 0, func() { a.ask(data, "OK 0 1") }) // writing is not reading
		read := func(c *client) {
			t.Helper()
			c.send("READ t 0 1\r\n")
			c.want("OK 0 1\r\n" + data)
		}
		took(t, 0, func() { read(a) })
		took(t, 2256*time.Millisecond, func() { read(a) })
		took(t, 0, func() { read(b); read(b) })
		took(t, 0, func() { a.ask("PING\r\n", "OK") }) // which anybody may have
		took(t, 3*time.Second, func() { as(t, s, "a").ask("INFO nothing\r\n", "ERR not found") })
		wantThrottled(t, s, "read", 2)

		// One that waits at the end is counted when it gets something.
		time.Sleep(time.Hour / 2)
		a.send(fmt.Sprintf("READ t %d 1 wait=600000\r\n", len(data)))
		synctest.Wait()
		took(t, 0, func() { b.ask(data, fmt.Sprintf("OK %d 1", len(data))) })
		took(t, 0, func() { a.want(fmt.Sprintf("OK %d 1\r\n%s", len(data), data)) })
		took(t, 2256*time.Millisecond, func() { a.ask("SEEK t 0\r\n", "OK 0 0") })
	})
}

// TestCompressedIsCountedUnpacked: what a batch turns out to be is owed.
func TestCompressedIsCountedUnpacked(t *testing.T) {
	data := []byte(testkit.Batch("t", strings.Repeat("x", 5000)))
	data = data[strings.IndexByte(string(data), '\n')+1:]
	packed := codec.NewS2().Encode(nil, data)
	h := batch.Header{Topic: []byte("t"), Size: int64(len(packed)), CRC: batch.Checksum(packed), Messages: 1, Codec: "s2"}
	request := string(batch.AppendHeader(nil, &h)) + string(packed)
	o := server.Options{
		Auth: withQuotas(t, "a: write-rate = 1000", "b"), IdleTimeout: time.Hour, Unpacker: unpacker{codec.NewChecker(time.Second)},
		Settings: protocol.Settings{Codecs: batch.KnownCodecs, MaxUncompressedSize: 1 << 20},
	}
	inBubble(t, o, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		if len(request) > 256 {
			t.Fatalf("the request has %d bytes", len(request))
		}
		a := as(t, s, "a")
		took(t, 0, func() { a.ask(request, "OK 0 1") })
		owed := 256 + len(data) - len(packed) - 1000 + 256
		took(t, time.Duration(owed)*time.Millisecond, func() { a.send(request); a.wantLine("OK") })
		took(t, 0, func() { b := as(t, s, "b"); b.send(request); b.wantLine("OK") })
	})
}

// TestWaitBeforeData: a request waits before its data is read, and that it has waited is
// not held against its client.
func TestWaitBeforeData(t *testing.T) {
	o := server.Options{Auth: withQuotas(t, "a: write-rate = 1000"), Timeout: 4 * time.Second, IdleTimeout: time.Hour}
	inBubble(t, o, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		a, b := as(t, s, "a"), sized(t, "t", 1000)
		line := strings.IndexByte(b, '\n') + 1
		a.send(b)
		a.wantLine("OK")
		a.send(b[:4])
		time.Sleep(100 * time.Millisecond) // the line's time has begun
		a.send(b[4:line])
		took(t, 900*time.Millisecond, func() { a.send(b[line : line+1]) })
		time.Sleep(3 * time.Second)
		a.send(b[line+1:])
		a.wantLine("OK")

		// No longer than half of the time that a request has.
		a.write("t", 3500, "OK")
		took(t, 0, func() { a.write("t", 1000, "ERR busy") })
		a.ask("PING\r\n", "OK")
		time.Sleep(1500 * time.Millisecond)
		took(t, 2*time.Second, func() { a.write("t", 1000, "OK") })
	})
}

// TestPipelined: what was sent before is answered before the wait, and in order.
func TestPipelined(t *testing.T) {
	inBubble(t, server.Options{TopicWriteRate: 1000, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c, b := connect(t, s), sized(t, "t", 500)
		go c.nc.Write([]byte(b + b + b + "PING\r\n" + sized(t, "t", 9000) + sized(t, "t", 999)))
		took(t, 0, func() { c.want("OK 0 1\r\nOK 500 1\r\n") })
		took(t, time.Second/2, func() { c.want("OK 1000 1\r\nOK\r\n") })
		took(t, time.Second, func() { c.want("OK 1500 1\r\n") })
		took(t, 0, func() { c.want("ERR busy\r\n") })
	})
}

// TestQuotasReload: other rates are in force at once, also for who waits; what is owed
// stays. The first way is the control: nothing changes, and the wait is what it was.
func TestQuotasReload(t *testing.T) {
	for name, test := range map[string]struct {
		reload func(t testing.TB, s *server.Server, a *server.Auth)
		want   time.Duration // after one second of four
		next   string
	}{
		"nothing": {func(t testing.TB, s *server.Server, a *server.Auth) {}, 3 * time.Second, "OK"},
		"the same": {func(t testing.TB, s *server.Server, a *server.Auth) {
			a.SetPolicy(quotas(t, "a: write-rate = 1000"))
			s.Recall()
		}, 3 * time.Second, "OK"},
		"higher": {func(t testing.TB, s *server.Server, a *server.Auth) {
			a.SetPolicy(quotas(t, "a: write-rate = 3000"))
			s.Recall()
		}, time.Second, "OK"},
		"lower": {func(t testing.TB, s *server.Server, a *server.Auth) {
			a.SetPolicy(quotas(t, "a: write-rate = 750"))
			s.Recall()
		}, 4 * time.Second, "OK"},
		"lower than lets it wait": {func(t testing.TB, s *server.Server, a *server.Auth) {
			a.SetPolicy(quotas(t, "a: write-rate = 1"))
			s.Recall()
		}, 4 * time.Second, "ERR busy"}, // 5 s since it came
		"none": {func(t testing.TB, s *server.Server, a *server.Auth) {
			a.SetPolicy(quotas(t, "a"))
			s.Recall()
		}, 0, "OK"},
		"nobody": {func(t testing.TB, s *server.Server, a *server.Auth) {
			a.SetPolicy(quotas(t, "b"))
			s.Recall()
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := withQuotas(t, "a: write-rate = 1000")
			inBubble(t, server.Options{Auth: a, IdleTimeout: time.Hour, Timeout: time.Minute}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
				c := as(t, s, "a")
				c.write("t", 4000, "OK")
				c.send(sized(t, "t", 1000))
				time.Sleep(time.Second)
				test.reload(t, s, a)
				if test.next == "" {
					took(t, test.want, func() { c.want("ERR unauthorized\r\n"); c.wantClosed() })
					return
				}
				took(t, test.want, func() { c.wantLine("OK") })
				c.write("t", 1000, test.next)
			})
		})
	}
	t.Run("topic", func(t *testing.T) {
		o := server.Options{TopicWriteRate: 1000, IdleTimeout: time.Hour, Timeout: time.Minute}
		inBubble(t, o, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
			limits := server.Limits{Timeout: o.Timeout, IdleTimeout: o.IdleTimeout}
			c := connect(t, s)
			c.write("t", 4000, "OK")
			for _, step := range []struct {
				rate int64
				want time.Duration
			}{{3000, time.Second}, {0, 0}} {
				c.send(sized(t, "t", 1000))
				if step.rate > 0 {
					time.Sleep(time.Second)
				} else {
					synctest.Wait()
				}
				limits.TopicWriteRate = step.rate
				s.SetLimits(limits)
				took(t, step.want, func() { c.wantLine("OK") })
			}
			took(t, 0, func() { c.write("t", 30_000, "OK"); c.write("t", 30_000, "OK") })
			limits.TopicWriteRate = 1000
			s.SetLimits(limits)
			took(t, 0, func() { c.write("t", 1000, "OK") })
			took(t, time.Second, func() { c.write("t", 1000, "OK") })
		})
	})
}

// TestQuotaOfConnections: one connection too many of an identity is told so and closed,
// others are not; what ends makes room.
func TestQuotaOfConnections(t *testing.T) {
	a := withQuotas(t, "a: connections = 2", "b", "anonymous: connections = 1")
	inBubble(t, server.Options{Auth: a, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		first, second := as(t, s, "a"), as(t, s, "a")
		third := connect(t, s)
		third.ask("AUTH a-token\r\n", "ERR busy")
		third.wantClosed()
		wantThrottled(t, s, "connections", 1)
		for range 3 {
			as(t, s, "b").ask("INFO nothing\r\n", "ERR not found")
		}
		first.ask("AUTH a-token\r\n", "OK") // it is the same connection
		first.ask("CLOSE\r\n", "OK")
		synctest.Wait()
		fourth := as(t, s, "a")
		fourth.ask("AUTH b-token\r\n", "OK") // and is b's from here on
		as(t, s, "a")

		// Who shows nothing may be about to: the anonymous do not keep others out.
		one, two := connect(t, s), connect(t, s)
		one.ask("INFO nothing\r\n", "ERR not found")
		two.ask("PING\r\n", "OK")
		two.ask("AUTH b-token\r\n", "OK")
		two = connect(t, s)
		two.ask("INFO nothing\r\n", "ERR busy")
		two.wantClosed()
		wantThrottled(t, s, "connections", 2)

		// A lower number closes nobody, but lets nobody in.
		a.SetPolicy(quotas(t, "a: connections = 1", "b: connections = 1"))
		s.Recall()
		second.ask("INFO nothing\r\n", "ERR not found")
		fourth.ask("INFO nothing\r\n", "ERR not found")
		for _, name := range []string{"a", "b"} {
			c := connect(t, s)
			c.ask("AUTH "+name+"-token\r\n", "ERR busy")
			c.wantClosed()
		}
		a.SetPolicy(quotas(t, "a", "b"))
		s.Recall()
		as(t, s, "a")
		as(t, s, "b")
	})
}

// TestQuotaOfCertificates: a connection that has shown who it is by its certificate is
// told over TLS.
func TestQuotaOfCertificates(t *testing.T) {
	p, err := auth.Parse("auth.toml", []byte("version = 1\n[[identity]]\nname = \"a\"\ncerts = [\"cn:client\"]\nallow = [\"read *\"]\nconnections = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	secure, client := tlsPair(t, func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert })
	s := server.New(server.Options{Store: topictest.NewMemory(), Auth: server.NewAuth(policy{p}, new(auth.Failures), slog.New(slog.DiscardHandler))})
	addr := serveTLS(t, s, secure)
	dial := func() net.Conn {
		nc, err := tls.Dial("tcp", addr, client)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(time.Minute))
		return nc
	}
	first := dial()
	exchange(t, first, []byte("PING\r\n"), make([]byte, len("OK\r\n")))
	second := dial()
	if got, _ := io.ReadAll(second); string(got) != "ERR busy\r\n" {
		t.Errorf("received %q, want ERR busy", got)
	}
}

// TestShutdownDoesNotWait: what has arrived is answered at once.
func TestShutdownDoesNotWait(t *testing.T) {
	inBubble(t, server.Options{TopicWriteRate: 1000, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		c.write("t", 5000, "OK")
		c.send(sized(t, "t", 200))
		synctest.Wait()
		done := make(chan error)
		go func() { done <- s.Shutdown(context.Background()) }()
		took(t, 0, func() { c.wantLine("OK") })
		c.wantClosed()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestTopicSharesAreForgotten: topics that nobody writes to any more leave nothing.
func TestTopicSharesAreForgotten(t *testing.T) {
	inBubble(t, server.Options{TopicWriteRate: 1024, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		for i := range 1000 {
			c.write(fmt.Sprintf("t%d", i), 200, "OK")
			time.Sleep(10 * time.Millisecond)
		}
		if n := server.TopicShares(s); n > 128 {
			t.Errorf("%d topics are remembered", n)
		}
	})
}

package admin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest/memnet"
	"github.com/logd-dev/logd/logdtest/script"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const fakeAddr = "fake:1774"

// fake returns a network with one server, and a config to reach it.
func fake(t *testing.T, serve func(*script.Peer)) (*memnet.Network, logd.ClientConfig) {
	network := memnet.New(t)
	script.Serve(t, network, fakeAddr, serve)
	return network, logd.ClientConfig{Addrs: []string{fakeAddr}, Dial: network.Dial}
}

// dial returns a client that is closed at the test's end.
func dial(t *testing.T, cfg logd.ClientConfig) *admin.Client {
	t.Helper()
	c, err := logd.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return admin.New(c)
}

// answering returns a client of a server that answers each request with one of
// the answers, and notes the requests.
func answering(t *testing.T, answers ...string) (*admin.Client, *[]string) {
	t.Helper()
	requests := new([]string)
	_, cfg := fake(t, func(p *script.Peer) {
		for _, answer := range answers {
			r, ok := p.Request()
			if !ok {
				return
			}
			*requests = append(*requests, r.Line)
			fmt.Fprint(p, answer)
		}
		p.Request()
	})
	return dial(t, cfg), requests
}

func body(text string) string { return fmt.Sprintf("MOK %d\r\n%s\r\n", len(text), text) }

// TestErrors: what failed is named as the methods of a logd.Client name it, and an
// answer of another form costs nobody the connection.
func TestErrors(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("TRIM t 5", "ERR read only\r\n")
		p.Exchange("TRIM t 5", "OK\r\n")
		p.Exchange("HOOK t 5 skip", "OK 5 0\r\n")
		p.Exchange("HOOK t 5 retry", body(""))
		p.Exchange("STATS", "OK\r\n")
		p.Exchange("TIMES t 0 9", "OK 0 0\r\n")
		p.Exchange("STATS", body("a\r\n"))
		p.Exchange("STATS", body(""))
		p.AwaitClose()
	})
	c := dial(t, cfg)
	ctx := t.Context()
	for _, tt := range []struct {
		op, topic string
		is        error
		call      func() error
	}{
		{"trim", "t", logd.ErrReadOnly, func() error { _, err := c.Trim(ctx, "t", 5); return err }},
		{"trim", "t", logd.ErrBadAnswer, func() error { _, err := c.Trim(ctx, "t", 5); return err }},
		{"skip hook", "t", logd.ErrBadAnswer, func() error { return c.SkipHook(ctx, "t", 5) }},
		{"retry hook", "t", logd.ErrBadAnswer, func() error { return c.RetryHook(ctx, "t", 5) }},
		{"stats", "", logd.ErrBadAnswer, func() error { _, err := c.Stats(ctx); return err }},
		{"times", "t", logd.ErrBadAnswer, func() error { _, err := c.Times(ctx, "t", 0, 9); return err }},
		{"stats", "", logd.ErrBadAnswer, func() error { _, err := c.Stats(ctx); return err }},
	} {
		err := tt.call()
		op, ok := errors.AsType[*logd.OpError](err)
		if !ok || !errors.Is(err, tt.is) || op.Op != tt.op || op.Topic != tt.topic || op.Addr != fakeAddr {
			t.Errorf("%s: %v, want %v", tt.op, err, tt.is)
		}
	}
	if fields, err := c.Stats(ctx); err != nil || len(fields) != 0 {
		t.Errorf("Stats = %v, %v", fields, err)
	}
}

// TestTopicNames: a name that is none is not sent: it could be the rest of another
// request.
func TestTopicNames(t *testing.T) {
	c, requests := answering(t)
	ctx := t.Context()
	for _, name := range []string{"", ".t", "a b", "t now=1", "t\r\nPING", "../t", strings.Repeat("x", 256)} {
		for what, call := range map[string]func() error{
			"Info":      func() error { _, err := c.Info(ctx, name); return err },
			"Delete":    func() error { return c.Delete(ctx, name, admin.DeleteOptions{ID: "12"}) },
			"DeleteAny": func() error { return c.Delete(ctx, name, admin.DeleteOptions{}) },
			"Trim":      func() error { _, err := c.Trim(ctx, name, 1); return err },
			"Times":     func() error { _, err := c.Times(ctx, name, 0, 1); return err },
			"Retention": func() error { _, err := c.Retention(ctx, name, admin.RetentionOptions{}); return err },
			"RetryHook": func() error { return c.RetryHook(ctx, name, 1) },
			"SkipHook":  func() error { return c.SkipHook(ctx, name, 1) },
		} {
			if err := call(); !errors.Is(err, logd.ErrInvalidRequest) {
				t.Errorf("%s of topic %q: %v", what, name, err)
			}
		}
	}
	if len(*requests) != 0 {
		t.Errorf("requests %q", *requests)
	}
}

// TestRedirect: a command that the leader alone takes goes there, at once.
func TestRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, cfg := fake(t, func(p *script.Peer) {
			p.Exchange("DELETE t id=12", "ERR not leader leader:1774\r\n")
			p.Exchange("CLUSTER", "ERR invalid request\r\n")
			p.AwaitClose()
		})
		script.Serve(t, network, "leader:1774", func(p *script.Peer) {
			p.Exchange("DELETE t id=12", "OK\r\n")
			p.AwaitClose()
		})
		c := dial(t, cfg)
		start := time.Now()
		if err := c.Delete(t.Context(), "t", admin.DeleteOptions{ID: "12"}); err != nil || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestContext: a context that ends, ends the call.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			p.Expect("HELP")
			p.AwaitClose()
		})
		c := dial(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Help(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Help = %v", err)
		}
	})
}

func TestStatsAndConfig(t *testing.T) {
	c, _ := answering(t,
		body("bytes.in: 5\r\nconns.active: 1\r\n"),
		body("Host: 127.0.0.1:1774\r\nTimeout: 15s\r\nIdleTimeout: 30s\r\nMaxBatchSize: 65536\r\nMaxMessages: 7\r\nFlushBatches: 1\r\nProducers: 9\r\nMore: a: b\r\n"),
		body("Timeout: soon\r\n"), body(strings.Repeat("a: b\r\n", 1<<18)),
	)
	stats, err := c.Stats(t.Context())
	if diff := cmp.Diff([]admin.Field{{Name: "bytes.in", Value: "5"}, {Name: "conns.active", Value: "1"}}, stats); err != nil || diff != "" {
		t.Errorf("Stats, %v (-want +got):\n%s", err, diff)
	}
	conf, err := c.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(conf.Fields) != 8 || conf.Fields[7].String() != "More: a: b" || !conf.SyncsFirst() {
		t.Errorf("fields %v", conf.Fields)
	}
	conf.Fields = nil
	if diff := cmp.Diff(&admin.ServerConfig{
		Host: "127.0.0.1:1774", Timeout: 15 * time.Second, IdleTimeout: 30 * time.Second,
		MaxBatchSize: 65536, MaxMessages: 7, FlushBatches: 1, Producers: 9,
	}, conf); diff != "" {
		t.Errorf("Config (-want +got):\n%s", diff)
	}
	for range 2 {
		if conf, err := c.Config(t.Context()); conf != nil || !errors.Is(err, logd.ErrBadAnswer) {
			t.Errorf("Config = %v, %v, want bad answer", conf, err)
		}
	}
}

func TestInfo(t *testing.T) {
	const full = "Oldest: 10\r\nNext: 30\r\nPartitions: 1\r\nBytes: 20\r\nMessages: 5\r\nBatches: 2\r\n" +
		"OldestTime: 2026-01-02T03:04:05.678Z\r\nNewestTime: 2026-01-02T03:04:06.000Z\r\nId: 0af\r\nState: writable\r\nSynced: 12\r\n" +
		"Damaged: 13\r\nDamagedAt: 12-15 20-30\r\nDamagedIn: t/10.log\r\nFuture: word\r\n"
	c, _ := answering(t, body(full), body("Oldest: 0\r\n"), "ERR not found\r\n")
	info, err := c.Info(t.Context(), "t")
	if err != nil || len(info.Fields) != 15 {
		t.Errorf("%v, fields %v", err, info.Fields)
	}
	info.Fields = nil
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	if diff := cmp.Diff(admin.TopicInfo{
		Oldest: 10, Next: 30, Partitions: 1, Bytes: 20, Messages: 5, Batches: 2, OldestTime: at, NewestTime: at.Add(322 * time.Millisecond),
		ID: "0af", State: "writable", Synced: 12, Damaged: 13, DamagedAt: []admin.DamagedRange{{From: 12, To: 15, File: "t/10.log"}, {From: 20, To: 30}},
	}, info); diff != "" {
		t.Errorf("Info (-want +got):\n%s", diff)
	}
	if _, err := c.Info(t.Context(), "t"); !errors.Is(err, logd.ErrBadAnswer) {
		t.Errorf("lines that are missing: %v", err)
	}
	if _, err := c.Info(t.Context(), "t"); !errors.Is(err, logd.ErrNoTopic) {
		t.Errorf("no topic: %v", err)
	}
}

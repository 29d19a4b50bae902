package clients

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestVectors has each client play testdata/vectors, which the Go client plays in its own
// tests.
func TestVectors(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		out := l.do(t, "vectors")
		t.Log(strings.TrimSpace(out))
		if n, _, ok := strings.Cut(out, " vectors, 0 failed"); !ok || len(n) < 2 {
			t.Error(last(out))
		}
	})
}

// TestRoundTrip writes and reads in every way.
func TestRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		s := serve(t)
		l.do(t, "roundtrip", options{"addrs": []string{s.addr}}, "t")
	})
}

// TestUnixSocket is the same over a unix socket.
func TestUnixSocket(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		dir, err := os.MkdirTemp("", "logd-") // a name that is short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "s")
		serve(t, "--unix-socket", path)
		l.do(t, "roundtrip", options{"addrs": []string{"unix:" + path}}, "t")
	})
}

// TestPositions has positions set, held, moved and forgotten, and a worker go on where it
// was, also where the server was killed meanwhile.
func TestPositions(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		s := serve(t)
		o := options{"addrs": []string{s.addr}}
		l.do(t, "positions", o, "t")
		c, err := logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var want, got string
		for i := range 20 {
			id, err := c.AppendMessage(t.Context(), "work", []byte(strconv.Itoa(i)))
			if err != nil {
				t.Fatal(err)
			}
			want += fmt.Sprintf("%s %d\n", id, i)
		}
		for range 3 {
			got += l.do(t, "work", o, "work", 5)
			s.kill()
			s.start()
		}
		if got += l.do(t, "work", o, "work", 0); got != want {
			t.Errorf("the worker has done\n%swant\n%s", got, want)
		}
		if at, err := c.Position(t.Context(), "work", "worker"); err != nil || at.LagBytes != 0 || at.State != "ok" {
			t.Errorf("the worker's position is %+v, %v", at, err)
		}
	})
}

// TestKills kills the server again and again while a client writes and another one
// follows: each message is stored once and in order, where the writer was told, and is
// read once and in order.
func TestKills(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		kills := 100
		if testing.Short() {
			kills = 15
		}
		s := serve(t)
		o := options{"addrs": []string{s.addr}, "attempts": nil, "reconnect_max": 0.05}
		writer, follower := l.start(t, "write", o, "t"), l.start(t, "follow", o, "t")
		for range kills {
			before := follower.lines()
			await(t, "a message arrives", func() bool { return follower.lines() > before })
			time.Sleep(time.Duration(mathrand.IntN(50)) * time.Millisecond)
			s.kill()
			s.start()
		}
		compare(t, []string{s.addr}, writer, follower)
	})
}

// TestKillsCanFail is TestKills of a server that knows no numbers: the writer must meet a
// batch of which nobody knows whether it is stored.
func TestKillsCanFail(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		s := serve(t, "--producers", "0")
		writer := l.start(t, "write", options{"addrs": []string{s.addr}, "attempts": nil, "reconnect_max": 0.05}, "t")
		c, err := logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 30 {
			before, _ := c.Info(t.Context(), "t")
			await(t, "a message is stored", func() bool {
				info, err := c.Info(t.Context(), "t")
				return err == nil && info.Next > before.Next
			})
			s.kill()
			s.start()
		}
		writer.stdin.Close()
		select {
		case err := <-writer.done:
			writer.done <- err
			if err == nil {
				t.Error("30 kills, and each message was stored once, without numbers")
			}
			if !strings.Contains(writer.err.String(), "onnection") {
				t.Error(writer.err.String())
			}
		case <-time.After(patience):
			t.Fatal("the writer does not end")
		}
	})
}

// compare ends both clients, and compares what the one was told and the other has read
// with what is stored.
func compare(t *testing.T, addrs []string, writer, follower *client) {
	t.Helper()
	told := words(writer.end(true))
	await(t, "all is read", func() bool { return follower.lines() >= len(told) })
	read := words(follower.end(true))
	stored := stored(t, addrs, "t")
	t.Logf("%d messages written", len(told))
	if len(stored) != len(told) || len(read) != len(told) || len(told) < 100 {
		t.Fatalf("%d messages written, %d stored, %d read", len(told), len(stored), len(read))
	}
	for i, m := range stored {
		n := strconv.Itoa(i)
		if m[1] != n || told[i][0] != n || told[i][1] != m[0] && told[i][1] != "-" {
			t.Fatalf("message %d is stored as %v, and the writer was told %v", i, m, told[i])
		}
		if read[i] != m {
			t.Fatalf("message %d is stored as %v, and was read as %v", i, m, read[i])
		}
	}
}

// stored returns the ids and bodies of a topic's messages.
func stored(t *testing.T, addrs []string, topic string) (messages [][2]string) {
	t.Helper()
	c, err := logd.NewClient(logd.ClientConfig{Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := logd.NewScanner(t.Context(), c, topic, logd.ScannerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for s.Scan() {
		messages = append(messages, [2]string{s.Message().ID().String(), string(s.Message().Body)})
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return messages
}

// TestTLS speaks TLS with a certificate of its own on each side, and with a token.
func TestTLS(t *testing.T) {
	dir, ca, other := t.TempDir(), testkit.NewAuthority(t), testkit.NewAuthority(t)
	serverCert, serverKey := ca.Issue(t, "server", []string{"127.0.0.1", "log.example"})
	clientCert, clientKey := ca.Issue(t, "client", []string{"someone"})
	file := func(name string) string { return filepath.Join(dir, name) }

	auth := file("auth.toml")
	cli := exec.Command(filepath.Join(built, "log-cli"), "token", "new", "app", "--allow", "read,write,create *", "--auth-file", auth)
	token, err := cli.Output()
	if err != nil {
		t.Fatal(err)
	}
	write(t, file("token"), string(token))
	write(t, file("wrong"), "logd_"+strings.Repeat("a", 43))

	each(t, func(t *testing.T, l language) {
		t.Parallel()
		s := serve(t, "--tls-cert", serverCert, "--tls-key", serverKey, "--tls-client-ca", ca.File, "--auth-file", auth)
		good := options{
			"addrs": []string{s.addr}, "tls_ca": ca.File, "tls_cert": clientCert, "tls_key": clientKey, "token_file": file("token"),
			"attempts": 1,
		}
		l.do(t, "roundtrip", good, "t")
		with := func(key string, value any) options {
			o := options{}
			for k, v := range good {
				o[k] = v
			}
			if o[key] = value; value == nil {
				delete(o, key)
			}
			return o
		}
		named := with("tls_server_name", "log.example")
		l.do(t, "roundtrip", named, "named")
		for what, o := range map[string]options{
			"another authority":     with("tls_ca", other.File),
			"another name":          with("tls_server_name", "other.example"),
			"no client certificate": with("tls_cert", nil),
			"another token":         with("token_file", file("wrong")),
			"no token":              with("token_file", nil),
		} {
			if what == "no client certificate" {
				delete(o, "tls_key")
			}
			if out, err := l.command("roundtrip", o, "x").CombinedOutput(); err == nil {
				t.Errorf("%s: the client has written all the same", what)
			} else if strings.Contains(string(out), strings.TrimSpace(string(token))) {
				t.Errorf("%s: the token is shown", what)
			}
		}
		onlyTopics(t, s, good)
	})
}

// onlyTopics wants no topic to be there but those of the clients that were let in.
func onlyTopics(t *testing.T, s *server, o options) {
	t.Helper()
	out, err := exec.Command(filepath.Join(built, "log-cli"), "topics", "--host", s.addr, "--tls-ca", o["tls_ca"].(string),
		"--tls-cert", o["tls_cert"].(string), "--tls-key", o["tls_key"].(string), "--token-file", o["token_file"].(string)).CombinedOutput()
	if err != nil || string(out) != "named\nt\n" {
		t.Errorf("the topics are %q, %v: want named and t alone", out, err)
	}
}

// TestPlainToken wants a token not to be sent to another machine without TLS.
func TestPlainToken(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		ln, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Skip(err)
		}
		defer ln.Close()
		got := make(chan string, 10)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				b := make([]byte, 100)
				n, _ := c.Read(b)
				got <- string(b[:n])
				c.Close()
			}
		}()
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := net.LookupHost(host); err != nil {
			t.Skip(err)
		}
		_, p, _ := net.SplitHostPort(ln.Addr().String())
		o := options{"addrs": []string{net.JoinHostPort(host, p)}, "token": "logd_secret", "attempts": 1}
		if err := l.command("roundtrip", o, "t").Run(); err == nil {
			t.Error("the client has connected")
		}
		if sent := <-got; sent != "" {
			t.Errorf("the client has sent %q", sent)
		}
		o["allow_plain_token"] = true
		l.command("roundtrip", o, "t").Run()
		if sent := <-got; !strings.Contains(sent, "AUTH logd_secret") {
			t.Errorf("the client has sent %q, allowed to send a token", sent)
		}
	})
}

// TestCluster kills members of a cluster of three under a writer and a follower.
func TestCluster(t *testing.T) {
	each(t, func(t *testing.T, l language) {
		t.Parallel()
		kills := 10
		if testing.Short() {
			kills = 2
		}
		var addrs, peers, work []string
		for range 3 {
			addrs, peers, work = append(addrs, port(t)), append(peers, port(t)), append(work, t.TempDir())
		}
		cmd := exec.Command(filepath.Join(built, "logd"), "cluster", "init", "--workdir", work[0], "--node", "n0", "--host", addrs[0], "--peer-host", peers[0])
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("init: %v", err)
		}
		members := make([]*server, 3)
		for i := range members {
			s := &server{t: t, addr: addrs[i]}
			s.args = []string{
				"--node", fmt.Sprint("n", i), "--workdir", work[i], "--host", addrs[i], "--peer-host", peers[i], "--http-host", "",
			}
			if i > 0 {
				s.args = append(s.args, "--join", peers[0], "--cluster", strings.TrimSpace(string(out)))
			}
			s.start()
			t.Cleanup(func() {
				s.kill()
				if t.Failed() {
					t.Logf("the log of n%d:\n%s", i, last(s.log.String()))
				}
			})
			members[i] = s
		}
		c, err := logd.NewClient(logd.ClientConfig{Addrs: addrs, ReconnectAttempts: logd.Unlimited})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		operator := admin.New(c)
		voters := func() (n int) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			info, err := operator.Cluster(ctx)
			for _, m := range info.Members {
				if err == nil && m.Role == "voter" && m.State == "up" {
					n++
				}
			}
			return n
		}
		await(t, "all three are voters", func() bool { return voters() == 3 })
		// The clients are given one member, and find the others.
		o := options{"addrs": []string{addrs[1]}, "attempts": nil}
		writer, follower := l.start(t, "write", o, "t"), l.start(t, "follow", o, "t")
		for i := range kills {
			before := follower.lines()
			await(t, "a message arrives", func() bool { return follower.lines() > before })
			time.Sleep(time.Duration(100+mathrand.IntN(100)) * time.Millisecond)
			members[i%3].kill()
			before = follower.lines()
			await(t, "another leads", func() bool { return follower.lines() > before+20 })
			members[i%3].start()
			await(t, "it is back", func() bool { return voters() == 3 })
		}
		compare(t, addrs, writer, follower)
	})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

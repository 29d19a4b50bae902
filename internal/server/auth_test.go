package server_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// policy is a file of identities as the server asks it.
type policy struct{ *auth.Policy }

func identity(id *auth.Identity) server.Identity {
	if id == nil {
		return nil
	}
	return id
}

func (p policy) ByToken(sum [32]byte) server.Identity { return identity(p.Policy.ByToken(sum)) }
func (p policy) ByCertificate(c *x509.Certificate) (server.Identity, bool) {
	id, several := p.Policy.ByCertificate(c)
	return identity(id), several
}
func (p policy) ByName(name string) server.Identity     { return identity(p.Policy.ByName(name)) }
func (p policy) ByPeer(uid, gid uint32) server.Identity { return identity(p.Policy.ByPeer(uid, gid)) }
func (p policy) Anonymous() server.Identity             { return identity(p.Policy.Anonymous()) }

// ownFile returns a copy of a file that nobody else can write.
func ownFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "auth.toml")
	if err := os.WriteFile(own, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return own
}

func loadPolicy(t testing.TB, path string) server.Policy {
	t.Helper()
	p, err := auth.Load(ownFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return policy{p}
}

// rules is a policy of identities and their rules: "name: rule, rule". The token of
// each is its name and "-token".
func rules(t testing.TB, identities ...string) server.Policy {
	t.Helper()
	var b strings.Builder
	b.WriteString("version = 1\n")
	for _, text := range identities {
		name, allow, _ := strings.Cut(text, ": ")
		fmt.Fprintf(&b, "[[identity]]\nname = %q\n", name)
		if name != auth.Anonymous {
			fmt.Fprintf(&b, "tokens = [%q]\n", auth.Sum([]byte(name+"-token")))
		}
		if allow != "" {
			fmt.Fprintf(&b, "allow = [\"%s\"]\n", strings.ReplaceAll(allow, "; ", `", "`))
		}
	}
	p, err := auth.Parse("auth.toml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return policy{p}
}

func newAuth(t testing.TB, identities ...string) *server.Auth {
	return server.NewAuth(rules(t, identities...), new(auth.Failures), slog.New(slog.DiscardHandler))
}

// from is a connection that comes from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

// connectFrom connects from an address.
func connectFrom(t testing.TB, s *server.Server, ip string) *client {
	nc, srv := net.Pipe()
	s.ServeConn(from{srv, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}})
	return &client{t, nc, bufio.NewReader(nc)}
}

const unauthorized = "ERR unauthorized"

// requests are one of each command; %s is the topic.
var requests = map[protocol.Command]string{
	protocol.Batch: "", protocol.Read: "READ %s 0 1\r\n", protocol.Tail: "TAIL %s 1\r\n", protocol.Config: "CONFIG\r\n", protocol.Stats: "STATS\r\n",
	protocol.Close: "CLOSE\r\n", protocol.Ping: "PING\r\n", protocol.Topics: "TOPICS\r\n", protocol.Info: "INFO %s\r\n", protocol.Seek: "SEEK %s 0\r\n",
	protocol.Hooks: "HOOKS\r\n", protocol.Hook: "HOOK %s 0 retry\r\n", protocol.Retention: "RETENTION %s\r\n", protocol.Delete: "DELETE %s id=00\r\n",
	protocol.Trim: "TRIM %s 0\r\n", protocol.Times: "TIMES %s 0 1\r\n", protocol.Help: "HELP\r\n", protocol.Cluster: "CLUSTER\r\n", protocol.Groups: "GROUPS\r\n",
	protocol.Transfer: "TRANSFER a topic=%s\r\n", protocol.Drain: "DRAIN a\r\n", protocol.Leave: "LEAVE a\r\n", protocol.Replace: "REPLACE a b\r\n",
	protocol.Set: "SETTING a b\r\n", protocol.Create: "CREATE %s\r\n", protocol.Position: "POSITION %s c\r\n", protocol.Positions: "POSITIONS\r\n", protocol.Auth: "AUTH everything-token\r\n", protocol.Hello: "HELLO 1\r\n",
}

func request(cmd protocol.Command, name string) string {
	if cmd == protocol.Batch {
		return testkit.Batch(name, "one")
	}
	return strings.ReplaceAll(requests[cmd], "%s", name)
}

// open are the commands that everybody may have.
var open = map[protocol.Command]bool{protocol.Ping: true, protocol.Help: true, protocol.Auth: true, protocol.Close: true, protocol.Hello: true}

// TestStrangers: who has not shown who it is gets the same answer to each command,
// whether the topic is there or not, and nothing is done.
func TestStrangers(t *testing.T) {
	inBubble(t, server.Options{Auth: newAuth(t, "everything: read,write,create,admin,monitor *"), Settings: protocol.Settings{MaxBatchSize: 1000}}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		store.Create(t.Context(), []byte("t"))
		for cmd := protocol.Unknown + 1; int(cmd) < protocol.NumCommands; cmd++ {
			text, ok := requests[cmd]
			if !ok {
				t.Errorf("no request of %v", cmd)
				continue
			}
			if open[cmd] {
				continue
			}
			for _, name := range []string{"t", "nothing"} {
				for _, key := range []string{"", " wait=1000", " fresh=1"} {
					r := request(cmd, name)
					if key != "" {
						if r = strings.Replace(text, "\r\n", key+"\r\n", 1); protocol.ParseRequest([]byte(strings.TrimSuffix(strings.ReplaceAll(r, "%s", name), "\r\n")), new(protocol.Request)) != nil || cmd == protocol.Batch {
							continue
						}
						r = strings.ReplaceAll(r, "%s", name)
					}
					c := connect(t, s)
					start := time.Now()
					c.ask(r, unauthorized)
					c.ask("PING\r\n", "OK") // also after the body of a batch
					if took := time.Since(start); took != 0 {
						t.Errorf("%q is answered after %v", r, took)
					}
					c.nc.Close()
				}
			}
		}
		if names := store.Topics(); len(names) != 1 || length(store, "t") != 0 {
			t.Errorf("topics %q, %d bytes", names, length(store, "t"))
		}
		// What is said to anybody.
		for r, answer := range map[string]string{
			"GET / HTTP/1.1\r\n":          "ERR invalid protocol",
			"\x16":                        "ERR invalid protocol", // a handshake: not a byte more is waited for
			"BATCH 100000 t 0 1\r\n":      "ERR too large",
			strings.Repeat("x", 2000):     "ERR invalid protocol",
			"BATCH 9999999999999 t 0 1\r": "",
		} {
			if answer == "" {
				continue
			}
			c := connect(t, s)
			c.send(r)
			c.want(answer + "\r\n")
			c.wantClosed()
		}
		c := connect(t, s)
		c.ask("CLOSE\r\n", "OK")
		c.wantClosed()
	})
}

// TestRights: each verb allows its commands for the topics of its pattern, and nothing
// else.
func TestRights(t *testing.T) {
	allows := map[string]string{
		"read":     "READ TAIL SEEK TIMES INFO RETENTION POSITION",
		"write":    "BATCH CREATE",
		"create":   "",
		"admin":    "HOOKS HOOK DELETE TRIM INFO RETENTION",
		"monitor":  "",
		"position": "POSITION",
	}
	whole := map[string]string{
		"admin":   "STATS CLUSTER GROUPS TRANSFER DRAIN LEAVE REPLACE SETTING POSITION",
		"monitor": "STATS CLUSTER GROUPS POSITION",
	}
	for verb := range allows {
		for _, pattern := range []string{"*", "orders.*", "orders.eu", "__own", "x"} {
			if verb == "monitor" && pattern != "*" {
				continue
			}
			a := newAuth(t, "a: "+verb+" "+pattern)
			inBubble(t, server.Options{Auth: a}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
				for _, name := range []string{"orders.eu", "orders", "__own"} {
					store.Create(t.Context(), []byte(name))
				}
				for _, name := range []string{"orders.eu", "orders", "__own", "orders.nothing"} {
					matches := pattern == name || pattern == "*" && !strings.HasPrefix(name, "__") || pattern == "orders.*" && strings.HasPrefix(name, "orders.")
					for cmd := protocol.Unknown + 1; int(cmd) < protocol.NumCommands; cmd++ {
						if open[cmd] {
							continue
						}
						want := matches && strings.Contains(" "+allows[verb]+" ", " "+cmd.String()+" ") ||
							pattern == "*" && strings.Contains(" "+whole[verb]+" ", " "+cmd.String()+" ") ||
							cmd == protocol.Config || cmd == protocol.Topics || cmd == protocol.Positions || cmd == protocol.Hooks && verb == "admin"
						makes := cmd == protocol.Batch || cmd == protocol.Create
						if makes && name == "orders.nothing" {
							want = false // it takes create, too
						}
						if !makes {
							var req protocol.Request
							if err := protocol.ParseRequest([]byte(strings.TrimSuffix(request(cmd, name), "\r\n")), &req); err != nil {
								t.Fatal(err)
							}
							if shown, _ := a.Token([]byte("a-token")); s.Allows(shown, &req) != want {
								t.Errorf("%s %s: Allows says %v of %q", verb, pattern, !want, request(cmd, name))
							}
						}
						c := connect(t, s)
						c.ask("AUTH a-token\r\n", "OK")
						c.send(request(cmd, name))
						line, err := c.in.ReadString('\n')
						if makes && name == "__own" && line == "ERR invalid request\r\n" {
							line = unauthorized + "\r\n" // which it is to anybody
							want = false
						}
						if err != nil || (line == unauthorized+"\r\n") == want {
							t.Errorf("%s %s: %q is answered %q (%v)", verb, pattern, request(cmd, name), line, err)
						}
						c.nc.Close()
						if cmd == protocol.Delete && name != "orders.nothing" || cmd == protocol.Batch && want {
							store.Create(t.Context(), []byte(name))
						}
					}
				}
			})
		}
	}
}

// TestAllows: whether somebody has a right can be asked without a trace of it.
func TestAllows(t *testing.T) {
	log, logger := logBuffer()
	a := server.NewAuth(rules(t, "mover: position t/m*", "boss: admin t", "anonymous: read t"), new(auth.Failures), logger)
	inBubble(t, server.Options{Auth: a, Logger: logger}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		defer a.Close()
		store.Create(t.Context(), []byte("t"))
		moves := func(consumer string, force bool) *protocol.Request {
			return &protocol.Request{Command: protocol.Position, Topic: []byte("t"), Consumer: []byte(consumer), Position: &protocol.PositionRequest{Set: true, Force: force}}
		}
		trim := &protocol.Request{Command: protocol.Trim, Topic: []byte("t")}
		for _, c := range []struct {
			who  string
			req  *protocol.Request
			want bool
		}{
			{"mover", moves("mailer", false), true}, {"mover", moves("mailer", true), false}, {"mover", moves("other", false), false}, {"mover", moves("", false), true}, {"mover", trim, false},
			{"boss", moves("mailer", false), false}, {"boss", moves("", false), false}, {"boss", trim, true},
			{"", moves("mailer", false), false}, {"", moves("", false), false}, {"", trim, false},
			{"", &protocol.Request{Command: protocol.Position, Topic: []byte("t"), Consumer: []byte("x"), Position: new(protocol.PositionRequest)}, true},
		} {
			var shown server.Shown
			if c.who != "" {
				shown, _ = a.Token([]byte(c.who + "-token"))
			}
			if got := s.Allows(shown, c.req); got != c.want {
				t.Errorf("%q: %v %s: %v", c.who, c.req.Command, c.req.Consumer, got)
			}
		}
		time.Sleep(2 * time.Minute)
		if n := a.Stats().Denied["admin"] + a.Stats().Denied["position"]; n != 0 || len(s.Refusals()) != 0 || strings.Contains(log.String(), "denied") {
			t.Errorf("it has left a trace: %d, %v\n%s", n, s.Refusals(), log.String())
		}
	})
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		if !s.Allows(server.Shown{}, &protocol.Request{Command: protocol.Delete, Topic: []byte("t")}) {
			t.Error("without rules not all may do all")
		}
	})
}

// TestCreate: making a topic takes a right of its own.
func TestCreate(t *testing.T) {
	inBubble(t, server.Options{Auth: newAuth(t, "maker: write,create a*", "writer: write *", "creator: create *")}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		maker, writer, creator := connect(t, s), connect(t, s), connect(t, s)
		maker.ask("AUTH maker-token\r\n", "OK")
		writer.ask("AUTH writer-token\r\n", "OK")
		creator.ask("AUTH creator-token\r\n", "OK")
		a, b := testkit.Batch("a", "one"), testkit.Batch("b", "one")
		writer.ask(a, unauthorized)
		creator.ask(a, unauthorized)
		maker.ask(a, "OK 0 1")
		maker.ask(b, unauthorized)
		writer.ask(a, fmt.Sprintf("OK %d 1", len(a)))
		creator.ask(a, unauthorized)
		writer.ask(b, unauthorized)
		if names := store.Topics(); len(names) != 1 {
			t.Errorf("%q", names)
		}
	})
}

// TestWhatIsShown: TOPICS and HOOKS show what the rules are about.
func TestWhatIsShown(t *testing.T) {
	inBubble(t, server.Options{Auth: newAuth(t, "eu: read orders.eu", "some: admin orders.*", "operator: admin *", "none: ", "scraper: monitor *")}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		store.Waiting = []topic.Hook{{Topic: "orders.eu", State: "running"}, {Topic: "secret", State: "running"}}
		for _, name := range []string{"orders.eu", "orders.us", "secret", "__own"} {
			store.Create(t.Context(), []byte(name))
		}
		for name, want := range map[string][2]string{
			"eu": {"orders.eu", ""}, "some": {"orders.eu orders.us", "orders.eu"}, "operator": {"orders.eu orders.us secret", "orders.eu secret"},
			"none": {"", ""}, "scraper": {"orders.eu orders.us secret", ""},
		} {
			c := connect(t, s)
			c.ask("AUTH "+name+"-token\r\n", "OK")
			var body string
			for topic := range strings.FieldsSeq(want[0]) {
				body += topic + "\r\n"
			}
			c.send("TOPICS\r\n")
			c.want(fmt.Sprintf("MOK %d\r\n%s\r\n", len(body), body))
			c.send("HOOKS\r\n")
			if want[1] == "" {
				c.want(unauthorized + "\r\n")
				continue
			}
			body = ""
			for topic := range strings.FieldsSeq(want[1]) {
				body += "topic=" + topic + " base=0 end=0 state=running attempts=0\r\n"
			}
			c.want(fmt.Sprintf("MOK %d\r\n%s\r\n", len(body), body))
		}
	})
}

// TestGuessing: wrong tokens wait, more of them for longer, and right ones never.
func TestGuessing(t *testing.T) {
	log, logger := logBuffer()
	a := server.NewAuth(rules(t, "a: read *"), new(auth.Failures), logger)
	inBubble(t, server.Options{Auth: a, MaxUnauthenticated: 1000}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		defer a.Close()
		guess := func(c *client) time.Duration {
			start := time.Now()
			c.ask("AUTH wrong\r\n", unauthorized)
			return time.Since(start)
		}
		right := func() {
			start := time.Now()
			c := connectFrom(t, s, "192.0.2.1")
			c.ask("AUTH a-token\r\n", "OK")
			if took := time.Since(start); took != 0 {
				t.Errorf("a right token waits %v", took)
			}
			c.nc.Close()
		}
		for range 10 {
			c := connectFrom(t, s, "192.0.2.1")
			for range 3 {
				if took := guess(c); took != 250*time.Millisecond {
					t.Fatalf("a wrong token waits %v", took)
				}
			}
			c.wantClosed()
			right()
		}
		c := connectFrom(t, s, "192.0.2.1")
		if took := guess(c); took != 2*time.Second {
			t.Errorf("the 31st wrong token waits %v", took)
		}
		c.wantClosed()
		right()
		if took := guess(connectFrom(t, s, "192.0.2.2")); took != 250*time.Millisecond {
			t.Errorf("another address waits %v", took)
		}
		// A wrong one leaves nobody, whatever was before; a right one helps again.
		c = connectFrom(t, s, "192.0.2.3")
		c.ask("AUTH a-token\r\nREAD t 0 1\r\n", "OK")
		c.want("ERR not found\r\n")
		guess(c)
		c.ask("READ t 0 1\r\n", unauthorized)
		c.ask("AUTH a-token\r\nREAD t 0 1\r\n", "OK")
		c.want("ERR not found\r\n")
	})
	if n := strings.Count(log.String(), "event=auth_failed"); n < 3 || n > 15 || !strings.Contains(log.String(), "suppressed=21") || strings.Contains(log.String(), "wrong\"") {
		t.Errorf("%d lines:\n%s", n, log)
	}
	if st := a.Stats(); st.Shown[[2]string{"token", "failed"}] != 33 || st.Shown[[2]string{"token", "ok"}] != 13 {
		t.Errorf("%v", st.Shown)
	}
}

// TestGuessesAreCounted: many connections that guess as fast as they can get few
// answers, and cost few lines of the log.
func TestGuessesAreCounted(t *testing.T) {
	log, logger := logBuffer()
	a := server.NewAuth(rules(t, "a: read *"), new(auth.Failures), logger)
	inBubble(t, server.Options{Auth: a}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		defer a.Close()
		done := make(chan int)
		end := time.Now().Add(20 * time.Second)
		for range 64 {
			go func() {
				answers := 0
				for time.Now().Before(end) {
					c := connectFrom(t, s, "192.0.2.1")
					for time.Now().Before(end) {
						if _, err := fmt.Fprintf(c.nc, "AUTH logd_%d\r\n", rand.Int()); err != nil {
							break
						}
						line, err := c.in.ReadString('\n')
						if line == "OK\r\n" {
							t.Error("a guess is right")
						}
						if err != nil {
							break
						}
						answers++
					}
					c.nc.Close()
				}
				done <- answers
			}()
		}
		total := 0
		for range 64 {
			total += <-done
		}
		if total > 800 || total < 64 {
			t.Errorf("%d answers", total)
		}
		start := time.Now()
		connectFrom(t, s, "192.0.2.1").ask("AUTH a-token\r\n", "OK")
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the right token is answered after %v", took)
		}
	})
	if n := strings.Count(log.String(), "\n"); n > 100 {
		t.Errorf("%d lines", n)
	}
}

// TestAuthTimeout: who does not show who it is goes, however it passes the time.
func TestAuthTimeout(t *testing.T) {
	inBubble(t, server.Options{Auth: newAuth(t, "a: read *"), AuthTimeout: 5 * time.Second}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		start := time.Now()
		silent, half, busy, known := connect(t, s), connect(t, s), connect(t, s), connect(t, s)
		half.send("AUT")
		known.ask("AUTH a-token\r\n", "OK")
		go func() {
			for {
				if _, err := busy.nc.Write([]byte("PING\r\n")); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		for _, c := range []*client{silent, half} {
			c.want(unauthorized + "\r\n")
			c.wantClosed()
		}
		if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		for line := ""; line != unauthorized+"\r\n"; {
			var err error
			if line, err = busy.in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("who sends requests goes after %v", took)
		}
		busy.nc.Close()
		time.Sleep(10 * time.Second)
		known.ask("PING\r\n", "OK")
	})
}

// TestMaxUnauthenticated: strangers are few, of one address fewer, and keep nobody out
// who is not one.
func TestMaxUnauthenticated(t *testing.T) {
	inBubble(t, server.Options{Auth: newAuth(t, "a: read *"), MaxUnauthenticated: 100, AuthTimeout: 5 * time.Second}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		var all []*client
		for i := range 70 {
			c := connectFrom(t, s, fmt.Sprintf("2001:db8::%x", i+1))
			if i < 64 {
				c.ask("PING\r\n", "OK")
				all = append(all, c)
				continue
			}
			c.want("ERR busy\r\n")
			c.wantClosed()
		}
		for i := range 40 {
			c := connectFrom(t, s, fmt.Sprintf("192.0.2.%d", i+1))
			if i < 36 {
				c.ask("PING\r\n", "OK")
				all = append(all, c)
				continue
			}
			c.want("ERR busy\r\n")
			c.wantClosed()
		}
		if n := s.Stats().Unauthenticated; n != 100 {
			t.Errorf("%d strangers", n)
		}
		all[0].ask("AUTH a-token\r\n", "OK")
		all[0].ask("PING\r\n", "OK")
		if n := s.Stats().Unauthenticated; n != 99 {
			t.Errorf("%d strangers, when one is none any more", n)
		}
		c := connectFrom(t, s, "2001:db8::1")
		c.ask("AUTH a-token\r\n", "OK")
		all[0].ask("AUTH wrong\r\n", unauthorized) // who is there may become one
		all[0].ask("PING\r\n", "OK")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		for _, c := range all {
			c.nc.Close()
		}
		synctest.Wait()
		if n := s.Stats().Unauthenticated; n != 0 {
			t.Errorf("%d strangers at the end", n)
		}
		c.ask("PING\r\n", "OK")
	})
}

// TestAnonymous: if it has a rule, nobody is a stranger.
func TestAnonymous(t *testing.T) {
	inBubble(t, server.Options{Auth: newAuth(t, "anonymous: read public.*", "a: read *"), MaxUnauthenticated: 1, AuthTimeout: time.Second, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		a, b := connectFrom(t, s, "192.0.2.1"), connectFrom(t, s, "192.0.2.1")
		time.Sleep(time.Minute)
		for _, c := range []*client{a, b} {
			c.ask("READ public.x 0 1\r\n", "ERR not found")
			c.ask("READ x 0 1\r\n", unauthorized)
			c.ask("TOPICS\r\n", "MOK 0")
			c.want("\r\n")
		}
		a.ask("AUTH a-token\r\n", "OK")
		a.ask("READ x 0 1\r\n", "ERR not found")
		a.ask("AUTH wrong\r\n", unauthorized)
		a.ask("READ public.x 0 1\r\n", "ERR not found")
		a.ask("READ x 0 1\r\n", unauthorized)
	})
}

// TestJudgedAnew: when there are other rules, who is connected goes by them at once: a
// read that waits, one that waits for nothing, and one in the midst of a request.
func TestJudgedAnew(t *testing.T) {
	for name, test := range map[string]struct {
		now  []string
		ends bool
	}{
		"the identity is gone":          {[]string{"b: read *"}, true},
		"and anonymous may do other":    {[]string{"b: read *", "anonymous: read public"}, false},
		"the right is gone":             {[]string{"a: write *", "b: read *"}, false},
		"the right is of another topic": {[]string{"a: read u", "b: read *"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuth(t, "a: read,write,create *", "b: read *")
			inBubble(t, server.Options{Auth: a, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
				b := testkit.Batch("t", "one")
				as := func(name string) *client {
					c := connect(t, s)
					c.ask("AUTH "+name+"-token\r\n", "OK")
					return c
				}
				waiting, idle, half, busy, other := as("a"), as("a"), as("a"), as("a"), as("b")
				busy.ask(b, "OK 0 1")
				atEnd := fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))
				waiting.send(atEnd)
				other.send(atEnd)
				half.send("READ t 0")
				wantWatching(t, s, store, 2)

				start := time.Now()
				a.SetPolicy(rules(t, test.now...))
				// The control: until they are judged anew, all is as it was.
				wantWatching(t, s, store, 2)
				s.Recall()
				waiting.want(unauthorized + "\r\n")
				if test.ends {
					waiting.wantClosed()
					idle.wantClosed()
					half.want(unauthorized + "\r\n")
					half.wantClosed()
					busy.wantClosed()
				} else {
					waiting.ask("PING\r\n", "OK")
					idle.ask("READ t 0 1\r\n", unauthorized)
					half.ask(" 1\r\n", unauthorized)
					busy.ask("READ t 0 1\r\n", unauthorized)
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("it took %v", took)
				}
				wantWatching(t, s, store, 1) // who still may
				a.SetPolicy(rules(t, "b: read,write *"))
				s.Recall()
				writer := connect(t, s)
				writer.ask("AUTH b-token\r\n", "OK")
				writer.ask(b, fmt.Sprintf("OK %d 1", len(b)))
				other.want(fmt.Sprintf("OK %d 1\r\n%s", len(b), b))
			})
		})
	}
}

// TestAudit: what the log has of who did what.
func TestAudit(t *testing.T) {
	log, logger := logBuffer()
	a := server.NewAuth(rules(t, "a: read t", "operator: admin *"), new(auth.Failures), logger)
	inBubble(t, server.Options{Auth: a, Logger: logger}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		defer a.Close()
		store.Create(t.Context(), []byte("t"))
		c := connectFrom(t, s, "192.0.2.1")
		c.ask("AUTH a-token\r\n", "OK")
		for range 100 {
			c.ask("TRIM t 0\r\n", unauthorized)
		}
		c.ask("READ t\x1b[2J 0 1\r\n", "ERR invalid request")
		c.ask("AUTH operator-token\r\n", "OK")
		c.send("HOOK t 0 skip\r\nTRIM t 0\r\n")
		c.want("ERR not found\r\nOK 0 0\r\n")
		time.Sleep(2 * time.Minute)
	})
	text := log.String()
	for _, want := range []string{
		"level=INFO msg=audit event=auth identity=a remote=192.0.2.1:1",
		"level=WARN msg=audit event=denied identity=a remote=192.0.2.1:1 command=TRIM topic=t reason=\"no rule allows it\"",
		"msg=audit event=denied suppressed=90 remote=192.0.2.1",
		"level=INFO msg=audit event=admin identity=operator remote=192.0.2.1:1 command=TRIM topic=t",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if strings.Count(text, "event=denied identity") != 10 || strings.Contains(text, "token\n") || strings.Contains(text, "\\x1b") {
		t.Errorf("%s", text)
	}
}

// TestModel: sessions that show tokens, right and wrong, while the rules change: what
// is answered is never what neither the rules before nor those after allow.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	names := []string{"a", "b", "c", "anonymous"}
	topics := []string{"t", "t.x", "u"}
	verbs := []string{"read", "write", "write,create", "admin", "read,write"}
	type ruleset map[string][]string // rules of a name
	some := func() (ruleset, []string) {
		set, texts := make(ruleset), []string(nil)
		for _, name := range names {
			if rnd.IntN(3) == 0 {
				continue
			}
			for range rnd.IntN(3) {
				set[name] = append(set[name], verbs[rnd.IntN(len(verbs))]+" "+[]string{"*", "t", "t*", "u", "t.*"}[rnd.IntN(5)])
			}
			texts = append(texts, name+": "+strings.Join(set[name], "; "))
			if set[name] == nil {
				set[name] = []string{}
			}
		}
		return set, texts
	}
	allowed := func(set ruleset, name, verb, topic string) bool {
		all, is := set[name]
		if !is {
			all = set["anonymous"]
		}
		for _, r := range all {
			v, pattern, _ := strings.Cut(r, " ")
			if strings.Contains(","+v+",", ","+verb+",") && (pattern == "*" || pattern == topic || pattern == "t*" && topic[0] == 't' || pattern == "t.*" && topic == "t.x") {
				return true
			}
		}
		return false
	}
	set, texts := some()
	a := newAuth(t, texts...)
	inBubble(t, server.Options{Auth: a, AuthTimeout: 1000 * time.Hour, IdleTimeout: 1000 * time.Hour}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		type session struct {
			c    *client
			name string // "" shows nothing that counts
		}
		var sessions [4]session
		for i := range sessions {
			sessions[i].c = connectFrom(t, s, "192.0.2.1")
		}
		refused := 0
		for range 10_000 {
			x := &sessions[rnd.IntN(len(sessions))]
			switch rnd.IntN(20) {
			case 0:
				set, texts = some()
				a.SetPolicy(rules(t, texts...))
				s.Recall()
				synctest.Wait()
				continue
			case 1, 2:
				x.c.nc.Close()
				*x = session{c: connectFrom(t, s, "192.0.2.1")}
				synctest.Wait()
			case 3, 4, 5:
				name := []string{"a", "b", "c", "wrong"}[rnd.IntN(4)]
				if _, err := fmt.Fprintf(x.c.nc, "AUTH %s-token\r\n", name); err != nil {
					*x = session{c: connectFrom(t, s, "192.0.2.1")}
					continue
				}
				line, err := x.c.in.ReadString('\n')
				_, is := set[name]
				switch {
				case err != nil:
				case (line == "OK\r\n") != is:
					t.Fatalf("AUTH of %s: %q; there are %q", name, line, texts)
				case is:
					x.name = name
				default:
					x.name = ""
				}
				continue
			}
			verb, topic := []string{"read", "write", "admin"}[rnd.IntN(3)], topics[rnd.IntN(len(topics))]
			r := map[string]string{"read": "SEEK " + topic + " 0\r\n", "write": testkit.Batch(topic, "x"), "admin": "TRIM " + topic + " 0\r\n"}[verb]
			may := allowed(set, x.name, verb, topic)
			if verb == "write" && length(store, topic) < 0 {
				may = may && allowed(set, x.name, "create", topic)
			}
			if _, err := x.c.nc.Write([]byte(r)); err != nil {
				*x = session{c: connectFrom(t, s, "192.0.2.1")} // it was closed: it is nobody
				continue
			}
			line, err := x.c.in.ReadString('\n')
			if err != nil {
				*x = session{c: connectFrom(t, s, "192.0.2.1")}
				continue
			}
			if got := line != unauthorized+"\r\n"; got != may {
				t.Fatalf("%q of %q is answered %q; there are %q", r, x.name, line, texts)
			}
			if !may {
				refused++
			}
		}
		if refused < 100 || refused > 9000 {
			t.Errorf("%d of 10,000 were refused", refused)
		}
		for i := range sessions {
			sessions[i].c.nc.Close()
		}
	})
}

// TestPolicyIsNotNeeded: AUTH where there are no identities.
func TestPolicyIsNotNeeded(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		connect(t, s).ask("AUTH x\r\n", "ERR invalid request")
	})
}

// TestTokenIsForgotten: no bytes that a session was fed have a token, however it arrived.
func TestTokenIsForgotten(t *testing.T) {
	token := []byte("a-token")
	a := newAuth(t, "a: read *")
	for _, piece := range []int{1, 7, 1 << 20} {
		s := server.New(server.Options{Store: topictest.NewMemory(), Auth: a})
		c := server.NewSession(s, piece)
		for _, text := range []string{"AUTH a-token\r\n", "AUTH a-token x\r\n", "PING\r\nAUTH a-token\r\nPING\r\n"} {
			buf := []byte(text)
			c.Write(buf)
			if got := c.Seen(); bytes.Contains(got, token) {
				t.Errorf("in pieces of %d: %q is left of %q", piece, got, text)
			}
		}
		c.Close()
		s.Close()
	}
}

// keptConn keeps what it is given to read into: the buffers of who reads.
type keptConn struct {
	net.Conn
	mu   sync.Mutex
	bufs [][]byte
}

func (c *keptConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.bufs = append(c.bufs, p)
	c.mu.Unlock()
	return c.Conn.Read(p)
}

// TestTokenIsForgottenByConnections: no buffer of a connection has a token when that is
// answered, or when the connection has ended before.
func TestTokenIsForgottenByConnections(t *testing.T) {
	a := newAuth(t, "a: read *")
	auth := "AUTH a-token\r\n"
	for name, text := range map[string]string{
		"alone":                 auth,
		"invalid":               "AUTH a-token x\r\n",
		"between others":        "PING\r\n" + auth + "PING\r\n",
		"where a buffer ends":   strings.Repeat("PING\r\n", 681) + auth,
		"where a larger ends":   strings.Repeat("PING\r\n", 1364) + auth,
		"its line's end is not": "HELLO 10\r\n" + strings.Repeat("PING\r\n", 679) + auth, // in the first 4 KiB
		"many":                  strings.Repeat(auth, 2000),
		"not whole":             "PING\r\nAUTH a-token",
		"behind one that waits": auth + "READ t 0 1 wait=100000\r\nPING\r\n" + auth,
		"many behind it":        auth + "READ t 0 1 wait=100000\r\n" + strings.Repeat(auth, 2000),
	} {
		for _, piece := range []int{7, 1000, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, piece), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := topictest.NewMemory()
					if _, err := store.Create(t.Context(), []byte("t")); err != nil {
						t.Fatal(err)
					}
					s := server.New(server.Options{Store: store, Auth: a})
					client, srv := net.Pipe()
					kept := &keptConn{Conn: srv}
					s.ServeConn(kept)
					go io.Copy(io.Discard, client)
					for rest := text; rest != ""; {
						n := min(piece, len(rest))
						if _, err := io.WriteString(client, rest[:n]); err != nil {
							t.Fatal(err)
						}
						rest = rest[n:]
					}
					synctest.Wait()
					client.Close()
					s.Close()
					synctest.Wait()
					for _, b := range kept.bufs {
						if b = b[:cap(b)]; bytes.Contains(b, []byte("a-token")) {
							t.Fatalf("of %d bytes that were read into, some have the token", len(b))
						}
					}
				})
			})
		}
	}
}

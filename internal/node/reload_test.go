package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/tlsconf"
)

// logBuffer is what a node has logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since the last call.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// startReloadable starts a node whose settings and log a test uses.
func startReloadable(t *testing.T, change func(*config.Config)) (n *Node, c config.Config, log *logBuffer) {
	t.Helper()
	c = testConfig(t)
	if change != nil {
		change(&c)
	}
	log = new(logBuffer)
	level := new(slog.LevelVar)
	n, err := Start(context.Background(), Options{
		Config: c, Version: "test", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), LogLevel: level,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return n, c, log
}

func (n *Node) reloadTo(c config.Config) error {
	return n.Reload(func() (config.Config, error) { return c, nil })
}

// TestReload: each setting that a reload can change does what it says afterwards.
func TestReload(t *testing.T) {
	b := testkit.Batch("t", "one")
	configSays := func(line string) func(*testing.T, *Node) {
		return func(t *testing.T, n *Node) {
			if got := answers(t, n, "CONFIG\r\nCLOSE\r\n"); !strings.Contains(got, "\r\n"+line+"\r\n") {
				t.Errorf("CONFIG is %q, without %q", got, line)
			}
		}
	}
	says := func(request, answer string) func(*testing.T, *Node) {
		return func(t *testing.T, n *Node) {
			if got := answers(t, n, request+"CLOSE\r\n"); !strings.HasPrefix(got, answer) {
				t.Errorf("%q is answered by %q, want %q", request, got, answer)
			}
		}
	}
	keeps := func(t *testing.T, n *Node) {
		testkit.Eventually(t, func() string {
			return testkit.Unless(strings.Contains(answers(t, n, "INFO t\r\nCLOSE\r\n"), "\r\nPartitions: 2\r\n"), "there are not 2 partitions")
		})
	}
	small := func(c *config.Config) { c.PartitionSize, c.BatchSize = 128, 128 }
	ours, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	cert, key := ours.Issue(t, "server", nil)
	newEnd := time.Now().Add(100 * time.Hour).Truncate(time.Second)
	newCert, newKey := ours.Issue(t, "new", nil, testkit.Ends(newEnd))
	secure := func(c *config.Config) {
		c.TLSCert, c.TLSKey, c.TLSClientCA, c.TLSPlain = cert, key, ours.File, true
		c.HTTPTLSCert, c.HTTPTLSKey, c.HTTPTLSClientCA = cert, key, ours.File
	}
	renew := func(c *config.Config) { c.TLSCert, c.TLSKey = newCert, newKey }
	renewHTTP := func(c *config.Config) { c.HTTPTLSCert, c.HTTPTLSKey = newCert, newKey }
	overTLS := func(name string, good func(*tlsconf.Server) bool) func(*testing.T, *Node) {
		return func(t *testing.T, n *Node) {
			server := n.secured.protocol
			if name == "http" {
				server = n.secured.http
			}
			if !good(server) {
				t.Error("what the files say now is not in force")
			}
		}
	}
	isNew := func(s *tlsconf.Server) bool { return s.Ends().Equal(newEnd) }
	trustsOther := func(s *tlsconf.Server) bool { return s.Verify([]*x509.Certificate{ours.Cert}) != nil }
	optional := func(s *tlsconf.Server) bool { return s.Verify(nil) == nil }
	level := func(want slog.Level) func(*testing.T, *Node) {
		return func(t *testing.T, n *Node) {
			if n.log.Enabled(t.Context(), want-1) || !n.log.Enabled(t.Context(), want) {
				t.Errorf("the level is not %v", want)
			}
		}
	}
	tests := map[string]struct {
		start, change func(*config.Config)
		check         func(*testing.T, *Node)
	}{
		"timeout":      {nil, func(c *config.Config) { c.Timeout = 7 * time.Second }, configSays("Timeout: 7s")},
		"idle-timeout": {nil, func(c *config.Config) { c.IdleTimeout = 8 * time.Second }, configSays("IdleTimeout: 8s")},
		"codecs": {nil, func(c *config.Config) { c.Codecs = batch.Zstd },
			says("BATCH 1 t 1 1 codec=s2\r\nx", "ERR unsupported codec\r\n")},
		"uncompressed-size": {nil, func(c *config.Config) { c.UncompressedSize = 2 << 20 }, configSays("MaxUncompressedSize: 2097152")},
		"max-messages":      {nil, func(c *config.Config) { c.MaxMessages = 3 }, says("READ t 0 4\r\n", "ERR invalid request\r\n")},
		"max-connections": {nil, func(c *config.Config) { c.MaxConnections = 1 }, func(t *testing.T, n *Node) {
			testkit.Eventually(t, func() string {
				return testkit.Unless(n.server.Load().Stats().Connections == 0, "there are connections")
			})
			c, r := dial(t, n)
			fmt.Fprint(c, "PING\r\n")
			r.ReadString('\n')
			if got := answers(t, n, ""); got != "ERR busy\r\n" {
				t.Errorf("one too many received %q", got)
			}
		}},
		"topics": {nil, func(c *config.Config) { c.Topics = 1 }, says(testkit.Batch("u", "x"), "ERR maximum topics allowed\r\n")},
		"topic-write-rate": {nil, func(c *config.Config) { c.TopicWriteRate = 1024 },
			says(testkit.Batch("u", strings.Repeat("x", 20_000))+testkit.Batch("u", "x"), "OK 0 1\r\nERR busy\r\n")},
		"topics-whitelist":    {nil, func(c *config.Config) { c.TopicsWhitelist = []string{"v"} }, says(testkit.Batch("u", "x"), "ERR topic not allowed\r\n")},
		"positions":           {nil, func(c *config.Config) { c.Positions = 0 }, says("POSITION t c at=0.0\r\nPOSITIONS\r\n", "ERR invalid request\r\nERR invalid request\r\n")},
		"position-stale":      {nil, func(c *config.Config) { c.Positions, c.PositionStale = 1, time.Minute }, says("POSITION t c at=0.0\r\nPOSITION t d at=0.0\r\n", "OK 1 0\r\nERR maximum positions allowed\r\n")},
		"partitions":          {small, func(c *config.Config) { c.Partitions = 2 }, keeps},
		"retention-bytes":     {small, func(c *config.Config) { c.RetentionBytes = 200 }, keeps},
		"retention-age":       {small, func(c *config.Config) { c.RetentionAge = time.Millisecond }, says("INFO t\r\n", "MOK ")},
		"keep-free":           {func(c *config.Config) { c.DeleteHook = "false" }, func(c *config.Config) { c.KeepFree = 1 << 30 }, func(*testing.T, *Node) {}},
		"http-allowed-hosts":  {nil, func(c *config.Config) { c.HTTPAllowedHosts = []string{"logs"} }, func(*testing.T, *Node) {}},
		"console":             {nil, func(c *config.Config) { c.ConsoleActs = true }, func(*testing.T, *Node) {}},
		"auth-timeout":        {nil, func(c *config.Config) { c.AuthTimeout = time.Second }, func(*testing.T, *Node) {}},
		"max-unauthenticated": {nil, func(c *config.Config) { c.MaxUnauthenticated = 3 }, func(*testing.T, *Node) {}},
		"auth-file": {func(c *config.Config) { c.AuthFile = authFile(t, "anonymous: read,write,create,admin,monitor *") },
			func(c *config.Config) { c.AuthFile = authFile(t, "anonymous: read t") }, says(testkit.Batch("u", "x"), "ERR unauthorized\r\n")},

		"tls-cert":        {secure, renew, overTLS("protocol", isNew)},
		"tls-key":         {secure, renew, overTLS("protocol", isNew)},
		"tls-client-ca":   {secure, func(c *config.Config) { c.TLSClientCA = other.File }, overTLS("protocol", trustsOther)},
		"tls-client-cert": {secure, func(c *config.Config) { c.TLSClientCertOptional = true }, overTLS("protocol", optional)},
		"tls-min-version": {secure, func(c *config.Config) { c.TLSMinVersion = tls.VersionTLS13 }, overTLS("protocol", func(s *tlsconf.Server) bool {
			return s.ClientConfig().MinVersion == tls.VersionTLS13
		})},
		"http-tls-cert":        {secure, renewHTTP, overTLS("http", isNew)},
		"http-tls-key":         {secure, renewHTTP, overTLS("http", isNew)},
		"http-tls-client-ca":   {secure, func(c *config.Config) { c.HTTPTLSClientCA = other.File }, overTLS("http", trustsOther)},
		"http-tls-client-cert": {secure, func(c *config.Config) { c.HTTPTLSClientCertOptional = true }, overTLS("http", optional)},

		"log-level": {nil, func(c *config.Config) { c.LogLevel = slog.LevelError }, level(slog.LevelError)},
		"verbose":   {nil, func(c *config.Config) { c.Verbose, c.LogLevel = true, slog.LevelDebug }, level(slog.LevelDebug)},
	}
	for _, s := range config.Settings() {
		test, ok := tests[s.Name]
		if !ok {
			if s.Change != config.AtStart && !strings.HasPrefix(s.Name, "peer-") { // those: TestClusterTLS
				t.Errorf("what a reload does with %s is not tested", s.Name)
			}
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			n, c, log := startReloadable(t, test.start)
			if got := answers(t, n, strings.Repeat(b, 10)+"CLOSE\r\n"); strings.Count(got, "OK") != 11 {
				t.Fatalf("%q", got)
			}
			old := c
			test.change(&c)
			if err := n.reloadTo(c); err != nil {
				t.Fatal(err)
			}
			if got, want := s.Value(n.reload.config.Load()), s.Value(&c); got != want {
				t.Errorf("%s is %s, want %s", s.Name, got, want)
			}
			test.check(t, n)
			if text := log.take(); s.Name != "log-level" && !strings.Contains(text, "setting="+s.Name+" ") {
				t.Errorf("the log does not name what changed:\n%s", text)
			}
			// And back.
			if err := n.reloadTo(old); err != nil {
				t.Fatal(err)
			}
			if got := answers(t, n, testkit.Batch("w", "x")+"CLOSE\r\n"); got != "OK 0 1\r\nOK\r\n" {
				t.Errorf("after all was changed back: %q", got)
			}
		})
	}
}

// TestReloadHoldsBack: what takes a restart stays as it is, with a warning each time,
// and the rest is taken.
func TestReloadHoldsBack(t *testing.T) {
	n, c, log := startReloadable(t, nil)
	c.Host, c.FlushBatches, c.Topics = "127.0.0.1:9", 7, 9
	for range 2 {
		log.take()
		if err := n.reloadTo(c); err != nil {
			t.Fatal(err)
		}
		text := log.take()
		for _, line := range []string{`level=WARN msg="host: changed, takes a restart"`, `level=WARN msg="flush-batches: changed, takes a restart"`} {
			if strings.Count(text, line) != 1 {
				t.Errorf("not once: %s\n%s", line, text)
			}
		}
	}
	if now := n.reload.config.Load(); now.Topics != 9 || now.FlushBatches != 0 {
		t.Errorf("topics %d, flush-batches %d", now.Topics, now.FlushBatches)
	}
}

// TestReloadIsAllOrNothing: whatever is wrong, all stays as it was, and each thing that
// is wrong has a line.
func TestReloadIsAllOrNothing(t *testing.T) {
	n, old, log := startReloadable(t, func(c *config.Config) { c.RetentionBytes, c.PartitionSize = 1<<20, 1<<20 })
	var bad error
	commits := 0
	for _, name := range []string{"one", "two"} {
		if err := n.reload.add(&part{name: name, prepare: func(c *config.Config) (func(), error) {
			if name == "two" && bad != nil {
				return nil, bad
			}
			return func() { commits++ }, nil
		}}); err != nil {
			t.Fatal(err)
		}
	}
	commits = 0
	wanted := old
	wanted.Timeout, wanted.LogLevel = time.Minute, slog.LevelDebug
	for _, test := range []struct {
		name string
		load func() (config.Config, error)
		bad  error
		want string
	}{
		{"settings", func() (config.Config, error) { return config.Config{}, errors.New("a line\nand another") }, nil, "a line\nand another"},
		{"part", func() (config.Config, error) { return wanted, nil }, errors.New("no such key\nand no certificate"), "no such key\nand no certificate"},
		{"what stays", func() (config.Config, error) {
			c := wanted
			c.PartitionSize, c.RetentionBytes = 1000, 2000 // which go together, but not with what takes a restart
			c.BatchSize = 500
			return c, nil
		}, nil, "with what takes a restart as it is: "},
	} {
		bad = test.bad
		before := n.reload.failed.Load()
		log.take()
		err := n.Reload(test.load)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if now := n.reload.config.Load(); now.Timeout != old.Timeout || commits != 0 || n.log.Enabled(t.Context(), slog.LevelDebug) || n.reload.failed.Load() != before+1 {
			t.Errorf("%s: something has changed: %v, %d commits", test.name, now.Timeout, commits)
		}
		if text := log.take(); text != "" {
			t.Errorf("%s: returned and logged: %s", test.name, text)
		}
	}
	bad = nil
	if err := n.reloadTo(wanted); err != nil || commits != 2 {
		t.Errorf("%v, %d commits", err, commits)
	}
	_, text := get(t, n.HTTPAddr(), "/metrics")
	for _, line := range []string{`logd_reloads_total{result="failed"} 3`, `logd_reloads_total{result="ok"} 1`} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("/metrics does not have %s", line)
		}
	}
}

// TestRefusedReloadKeepsFiles: files that have changed are still to be taken after a reload
// that something else has had refused.
func TestRefusedReloadKeepsFiles(t *testing.T) {
	n, c, _ := startReloadable(t, nil)
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	var bad error
	inForce := ""
	for _, p := range []*part{
		{name: "good", files: func(*config.Config) []string { return []string{file} }, prepare: func(*config.Config) (func(), error) {
			b, err := os.ReadFile(file)
			return func() { inForce = string(b) }, err
		}},
		{name: "bad", prepare: func(*config.Config) (func(), error) { return func() {}, bad }},
	} {
		if err := n.reload.add(p); err != nil {
			t.Fatal(err)
		}
	}
	write("newer")
	bad = errors.New("no")
	if err := n.reloadTo(c); err == nil || inForce != "old" {
		t.Fatalf("%v, %q is in force", err, inForce)
	}
	n.reload.lookAtFiles()
	n.reload.lookAtFiles()
	if inForce != "newer" {
		t.Errorf("%q is in force", inForce)
	}
}

// TestReloadOpensNothing: what a start refuses to listen with a reload refuses, too.
func TestReloadOpensNothing(t *testing.T) {
	a := testkit.NewAuthority(t)
	n, c, _ := startReloadable(t, func(c *config.Config) {
		c.TLSCert, c.TLSKey = a.Issue(t, "server", nil)
		c.TLSClientCA = a.File
	})
	n.o.Config.Host, c.Host = "10.1.2.3:1774", "10.1.2.3:1774" // as if it listened there
	if err := n.reloadTo(c); err != nil {
		t.Fatal(err)
	}
	c.TLSClientCertOptional = true
	if err := n.reloadTo(c); err == nil || !strings.HasPrefix(err.Error(), "host = ") {
		t.Errorf("a listener that anybody may use: %v", err)
	}
}

// TestReloadOfFiles: a part takes a changed file without being asked to; one that is
// wrong is told of once, and again when it changes, and a reload looks at it, too.
func TestReloadOfFiles(t *testing.T) {
	n, c, log := startReloadable(t, nil)
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	inUse := ""
	if err := n.reload.add(&part{
		name: "letters", files: func(*config.Config) []string { return []string{file} },
		prepare: func(*config.Config) (func(), error) {
			b, err := os.ReadFile(file)
			if err == nil && strings.Contains(string(b), "!") {
				err = errors.New("no letter\nno letter either")
			}
			return func() { inUse = string(b) }, err
		},
	}); err != nil {
		t.Fatal(err)
	}
	check := func(want string, lines int) {
		t.Helper()
		if inUse != want {
			t.Errorf("%q is in use, want %q", inUse, want)
		}
		if text := log.take(); strings.Count(text, "level=ERROR") != lines {
			t.Errorf("want %d errors in\n%s", lines, text)
		}
	}
	looks := func(n *Node) {
		for range 3 {
			n.reload.lookAtFiles()
		}
	}
	check("a", 0)
	write("bb")
	n.reload.lookAtFiles()
	check("a", 0) // it may be being written
	looks(n)
	check("bb", 0)
	write("!")
	looks(n)
	looks(n)
	check("bb", 2)
	verbose := func(want string) {
		t.Helper()
		if status, body := get(t, n.HTTPAddr(), "/readyz?verbose"); status != 200 || !strings.HasSuffix(body, "\n"+want+"\nready\n") {
			t.Errorf("/readyz?verbose: %d %q, want %q", status, body, want)
		}
	}
	verbose("fail letters: no letter; no letter either")
	write("!!")
	if err := n.reloadTo(c); err == nil || strings.Count(err.Error(), "letter") != 2 {
		t.Errorf("a reload with a bad file: %v", err)
	}
	looks(n)
	check("bb", 0) // the reload has told of it
	write("ccc")
	if err := n.reloadTo(c); err != nil {
		t.Error(err)
	}
	check("ccc", 0)
	verbose("ok letters")
}

// TestReloadOfAMember: what is the cluster's stays so.
func TestReloadOfAMember(t *testing.T) {
	c := testConfig(t)
	c.Node, c.PeerHost, c.Advertise, c.PeerAdvertise = "a", "127.0.0.1:0", "localhost:1", "localhost:2"
	if _, err := InitCluster(context.Background(), &c, 1); err != nil {
		t.Fatal(err)
	}
	n, c, log := startReloadable(t, func(to *config.Config) { *to = c })
	c.Topics, c.Timeout = 1, time.Minute
	if err := n.reloadTo(c); err != nil {
		t.Fatal(err)
	}
	if text := log.take(); !strings.Contains(text, `level=WARN msg="topics: changed, but the setting is the cluster's: see log-cli cluster set"`) {
		t.Errorf("no warning:\n%s", text)
	}
	if got := answers(t, n, "CONFIG\r\nCLOSE\r\n"); !strings.Contains(got, "\r\nTimeout: 1m0s\r\n") || !strings.Contains(got, "\r\nTopics: 1000\r\n") {
		t.Errorf("CONFIG is %q", got)
	}
}

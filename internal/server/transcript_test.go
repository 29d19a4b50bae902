package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/keeper"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// TestTranscripts plays the sessions in testdata/*.txt against a server. A
// line of a transcript is one of
//
//	# anything          a remark
//	set NAME VALUE      a setting (batch-size, max-messages, topics, allow,
//	                    section-size, codecs, positions, uncompressed-size, topic-write-rate,
//	                    auth: a file of identities); before the first line that is sent
//	> text              text is sent, with CR LF
//	| text              text is sent as it is, without a line end
//	< text              text is received, with CR LF
//	<eof                the server closes
//	end                 the client sends no more (it half-closes)
//	---                 the next connection
//
// In text, \r, \n, \\ and \xNN stand for bytes. In text that is sent $1 is the
// first topic's id that was received, $2 the second, and so on. Where a body has values that
// differ from run to run they are received as *, as is the body's size.
// Lines that are sent one after another are sent with one write. At the end of
// each connection that the server has not closed CLOSE must be answered, and
// nothing else may follow, so that no answer goes unseen.
//
// With -update, "batch TOPIC BODY…" becomes the lines of such a batch, and
// what is received where a transcript has a line with < is written anew: read
// the difference.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if *update {
			got := play(t, string(text), startMemory(t, settings(t, string(text)), dialTCP), true)
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			text = []byte(got)
		}
		for _, impl := range []struct {
			name  string
			start func(testing.TB, map[string]string) dialer
		}{
			{"session", func(t testing.TB, set map[string]string) dialer { return startMemory(t, set, dialSession(1<<20)) }},
			{"session, byte by byte", func(t testing.TB, set map[string]string) dialer { return startMemory(t, set, dialSession(1)) }},
			{"memory-pipe", func(t testing.TB, set map[string]string) dialer { return startMemory(t, set, dialPipe) }},
			{"memory-tcp", func(t testing.TB, set map[string]string) dialer { return startMemory(t, set, dialTCP) }},
			{"memory-tls", func(t testing.TB, set map[string]string) dialer { return startMemory(t, set, dialTLS) }},
			{"memory-tls, plain allowed", func(t testing.TB, set map[string]string) dialer { return startMemory(t, set, dialAllowed) }},
			{"node", startNode},
			{"cluster of one", func(t testing.TB, set map[string]string) dialer { return startCluster(t, set, 1) }},
			{"cluster of three", func(t testing.TB, set map[string]string) dialer { return startCluster(t, set, 3) }},
		} {
			if strings.HasPrefix(impl.name, "cluster") && (strings.HasPrefix(name, "single") || name == "config-stats") {
				continue // it is about a server that is in none, or that has no other connections
			}
			t.Run(name+"/"+impl.name, func(t *testing.T) {
				play(t, string(text), impl.start(t, settings(t, string(text))), false)
			})
		}
	}
}

// dialer makes a connection to a server.
type dialer func(testing.TB) net.Conn

// dialSession has a session alone, which is fed pieces of so many bytes.
func dialSession(piece int) func(testing.TB, *server.Server) dialer {
	return func(_ testing.TB, s *server.Server) dialer {
		return func(testing.TB) net.Conn { return server.NewSession(s, piece) }
	}
}

func dialPipe(t testing.TB, s *server.Server) dialer {
	return func(t testing.TB) net.Conn {
		client, srv := net.Pipe()
		s.ServeConn(srv)
		return client
	}
}

func dialTCP(t testing.TB, s *server.Server) dialer {
	addr := serveTCP(t, s)
	return func(t testing.TB) net.Conn { return dialAddr(t, addr) }
}

// serveTCP lets the server listen until the test ends.
func serveTCP(t testing.TB, s *server.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
	})
	return l.Addr().String()
}

func dialAddr(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func startMemory(t testing.TB, set map[string]string, dial func(testing.TB, *server.Server) dialer) dialer {
	store := topictest.NewMemory()
	o := server.Options{
		Store: store, Unpacker: unpacker{codec.NewChecker(time.Second)},
		Settings: protocol.Settings{Producers: 1 << 18, Positions: 10000, Codecs: batch.KnownCodecs, MaxUncompressedSize: 1 << 20, Version: "test"},
	}
	for name, value := range set {
		n, _ := strconv.Atoi(value)
		switch name {
		case "batch-size":
			o.Settings.MaxBatchSize = int64(n)
		case "producers":
			o.Settings.Producers = int64(n)
		case "positions":
			o.Settings.Positions = int64(n)
		case "codecs":
			o.Settings.Codecs = 0
		case "uncompressed-size":
			o.Settings.MaxUncompressedSize = int64(n)
		case "topic-write-rate":
			o.TopicWriteRate = int64(n)
		case "max-messages":
			o.Settings.MaxMessages = int64(n)
		case "topics":
			store.MaxTopics = n
		case "allow":
			store.Allowed = strings.Fields(value)
		case "section-size":
			store.Section = int64(n)
		case "auth":
			o.Auth = server.NewAuth(loadPolicy(t, value), new(auth.Failures), slog.New(slog.DiscardHandler))
		}
	}
	k := keeper.New(keeper.Options{Store: store, Rules: positions.Rules{Most: int(o.Settings.Positions), Stale: time.Hour}})
	o.Positions = k
	s := server.New(o)
	t.Cleanup(func() { s.Close(); k.Close() })
	return dial(t, s)
}

// unpacker is a server.Unpacker.
type unpacker struct{ *codec.Checker }

func (u unpacker) Check(h *batch.Header, data []byte, limit int64) (int64, *protocol.Error) {
	switch size, err := u.Checker.Check(h.Codec, data, h.Messages, limit); {
	case err == nil:
		return size, nil
	case errors.Is(err, codec.ErrTooLarge):
		return 0, protocol.ErrTooLarge
	}
	return 0, protocol.ErrInvalidRequest
}

// startNode starts a whole node, with its data in files.
func startNode(t testing.TB, set map[string]string) dialer {
	c := nodeConfig(t, set)
	addr := startWith(t, c)
	return func(t testing.TB) net.Conn { return dialAddr(t, addr) }
}

func startWith(t testing.TB, c config.Config) (addr string) {
	t.Helper()
	n, err := node.Start(context.Background(), node.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close node: %v", err)
		}
	})
	return n.Addr().String()
}

// startCluster starts so many nodes that are a cluster, and leads to the one that leads
// all topics.
func startCluster(t testing.TB, set map[string]string, members int) dialer {
	first := memberConfig(t, set, "a")
	id, err := node.InitCluster(t.Context(), &first, 2)
	if err != nil {
		t.Fatal(err)
	}
	addr := startWith(t, first)
	for i := 1; i < members; i++ {
		c := memberConfig(t, set, string(rune('a'+i)))
		c.Join, c.Cluster = []string{first.PeerHost}, id
		startWith(t, c)
	}
	testkit.Eventually(t, func() string {
		c := dialAddr(t, addr)
		defer c.Close()
		io.WriteString(c, "GROUPS\r\nTOPICS fresh=1\r\nCLOSE\r\n")
		b, err := io.ReadAll(c)
		if bytes.Contains(b, []byte("ERR")) {
			return fmt.Sprintf("the cluster is not there yet: %s", b)
		}
		all := strings.Repeat(",", members-1)
		if err != nil || len(regexp.MustCompile(`leader=a [^\n]* voters=\w`+strings.ReplaceAll(all, ",", `,\w`)+` `).FindAll(b, -1)) != 2 {
			return fmt.Sprintf("the cluster is not there yet: %s %v", b, err)
		}
		return ""
	})
	return func(t testing.TB) net.Conn { return dialAddr(t, addr) }
}

func memberConfig(t testing.TB, set map[string]string, name string) config.Config {
	c := nodeConfig(t, set)
	c.Node, c.PeerHost, c.ElectionTimeout, c.ScrubRate = name, testkit.FreeAddr(t), 200*time.Millisecond, 0
	return c
}

func nodeConfig(t testing.TB, set map[string]string) config.Config {
	c := config.Default()
	c.Host, c.HTTPHost, c.WorkDir = "127.0.0.1:0", "", t.TempDir()
	for name, value := range set {
		n, _ := strconv.Atoi(value)
		switch name {
		case "batch-size":
			c.BatchSize = int64(n)
		case "topic-write-rate":
			c.TopicWriteRate = int64(n)
		case "max-messages":
			c.MaxMessages = n
		case "producers":
			c.Producers = n
		case "positions":
			c.Positions = n
		case "codecs":
			c.Codecs = 0
		case "uncompressed-size":
			c.UncompressedSize = int64(n)
		case "topics":
			c.Topics = n
		case "allow":
			c.TopicsWhitelist = strings.Fields(value)
		case "section-size":
			c.PartitionSize = int64(n)
			c.Partitions = 1000
		case "auth":
			c.AuthFile = ownFile(t, value)
		}
	}
	return c
}

// settings returns the lines "set NAME VALUE".
func settings(t testing.TB, text string) map[string]string {
	set := make(map[string]string)
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "set "); ok {
			name, value, _ := strings.Cut(strings.TrimSpace(rest), " ")
			switch name {
			case "batch-size", "max-messages", "topics", "allow", "section-size", "producers", "codecs", "positions", "uncompressed-size", "auth", "topic-write-rate":
				set[name] = value
			default:
				t.Fatalf("unknown setting %q", name)
			}
		}
	}
	return set
}

// session is one connection of a transcript.
type session struct {
	t      testing.TB
	nc     net.Conn
	in     *bufio.Reader
	writes chan []byte
	done   chan struct{}
	send   []byte // not sent yet
	closed bool   // by the server
	ended  bool   // by the client
	ids    *[]string
}

// seeIDs notes the ids of topics in a body.
func (s *session) seeIDs(body string) {
	for line := range strings.Lines(body) {
		if id, ok := strings.CutPrefix(line, "Id: "); ok && !slices.Contains(*s.ids, strings.TrimSpace(id)) {
			*s.ids = append(*s.ids, strings.TrimSpace(id))
		}
	}
}

// withIDs puts ids in their places.
func (s *session) withIDs(text string) string {
	for i, id := range *s.ids {
		text = strings.ReplaceAll(text, fmt.Sprintf("$%d", i+1), id)
	}
	return text
}

func newSession(t testing.TB, nc net.Conn, ids *[]string) *session {
	s := &session{t: t, ids: ids, nc: nc, in: bufio.NewReader(nc), writes: make(chan []byte, 100), done: make(chan struct{})}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { // a pipe has no buffer: we may have to read while we write
		defer close(s.done)
		for p := range s.writes {
			nc.Write(p) // an error shows in what is read
		}
	}()
	return s
}

func (s *session) flush() {
	if len(s.send) > 0 {
		s.writes <- s.send
		s.send = nil
	}
}

// receive returns the next line as it stands in a transcript.
func (s *session) receive() ([]string, error) {
	line, err := s.in.ReadString('\n')
	if err != nil {
		if line != "" {
			return nil, fmt.Errorf("half a line %q: %w", line, err)
		}
		return nil, err
	}
	size, ok := strings.CutPrefix(line, "MOK ")
	if !ok {
		return []string{escape(normalize(line))}, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, "\r\n"))
	if err != nil {
		return nil, err
	}
	body := make([]byte, n+2)
	if _, err := io.ReadFull(s.in, body); err != nil {
		return nil, err
	}
	if !bytes.HasSuffix(body, []byte("\r\n")) {
		return nil, fmt.Errorf("the body %q is not followed by a line end", body)
	}
	s.seeIDs(string(body[:n]))
	text := normalize(string(body[:n]))
	if text != string(body[:n]) {
		line = "MOK *\r\n"
	}
	lines := []string{escape(line)}
	for l := range strings.Lines(text + "\r\n") {
		lines = append(lines, escape(l))
	}
	return lines, nil
}

// varying are values that differ from run to run or belong to the store.
var varying = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "*"},
	{regexp.MustCompile(`(?m)^Host: \r$`), "Host: *\r"}, // a pipe has no address
	{regexp.MustCompile(`Time: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "Time: *"},
	{regexp.MustCompile(`(?m)^(\d+) \d{13}\r$`), "$1 *\r"}, // of TIMES
	{regexp.MustCompile(`(?m)^Id: [0-9a-f]{32}\r$`), "Id: *\r"},
	{regexp.MustCompile(`(?m)^Node: \w*\r$`), "Node: *\r"},
	{regexp.MustCompile(`(?m)^(Partitions|Synced|bytes\.in|bytes\.out): \d+`), "$1: *"},
	{regexp.MustCompile(`(?m)^Role: \w+\r\n(Group: \d+\r\nLeader: .*\r\nTerm: \d+\r\n)?`), "Role: *\r\n"},
	{regexp.MustCompile(`( lag-ms| updated| hold-ms)=[0-9][^ ]*`), "$1=*"},
	{regexp.MustCompile(`^ERR held \d+`), "ERR held *"},
	{regexp.MustCompile(`(?ms)^(MaxBatchSize: \d+\r\n).+`), "$1"}, // what follows is the node's
}

func normalize(body string) string {
	for _, v := range varying {
		body = v.re.ReplaceAllString(body, v.with)
	}
	return body
}

func escape(line string) string {
	line = strings.TrimSuffix(line, "\r\n")
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) {
		q := strconv.QuoteToASCII(line)
		return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	}
	return line
}

func unescape(t testing.TB, text string) string {
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return s
}

// play plays a transcript and returns it as it went. Without update, what is
// received must be what the transcript says.
func play(t testing.TB, text string, dial dialer, update bool) string {
	t.Helper()
	var out strings.Builder
	var s *session
	finish := func() {
		if s == nil {
			return
		}
		s.flush()
		if !s.closed && !s.ended {
			s.send = []byte("CLOSE\r\n")
			s.flush()
			if got, err := s.receive(); err != nil || got[0] != "OK" {
				t.Errorf("CLOSE at the end: got %q, %v, want OK", got, err)
			}
		}
		if rest, err := io.ReadAll(s.in); err != nil || len(rest) > 0 {
			t.Errorf("unexpected at the end of a connection: %q, %v", rest, err)
		}
		s.nc.Close()
		close(s.writes)
		<-s.done
		s = nil
	}
	// A transcript that fails leaves nothing behind.
	defer func() {
		if s != nil {
			s.nc.Close()
			close(s.writes)
			<-s.done
		}
	}()
	var got, ids []string
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		sign, rest, _ := strings.Cut(line, " ")
		sends := sign == ">" || sign == "|" || sign == "batch" || sign == "end"
		if s == nil && sends {
			s = newSession(t, dial(t), &ids)
		}
		if sends && len(got) > 0 {
			t.Fatalf("line %d: not in the transcript: %q", i+1, got)
		}
		switch sign {
		case ">":
			s.send = append(s.send, s.withIDs(unescape(t, rest))+"\r\n"...)
		case "|":
			s.send = append(s.send, unescape(t, rest)...)
		case "batch":
			f := strings.Fields(rest)
			wire := testkit.Batch(f[0], f[1:]...)
			s.send = append(s.send, wire...)
			for l := range strings.Lines(wire) {
				fmt.Fprintf(&out, "> %s\n", escape(l))
			}
			continue
		case "end":
			half, ok := s.nc.(interface{ CloseWrite() error })
			if !ok {
				t.Skip("half a connection can't be closed here")
			}
			s.flush()
			close(s.writes)
			<-s.done
			half.CloseWrite()
			s.writes = make(chan []byte)
			s.done = make(chan struct{})
			close(s.done)
			s.ended = true
		case "---":
			finish()
		case "<", "<eof":
			s.flush()
			if update {
				if !strings.HasPrefix(lines[i-1], "<") {
					receiveAll(s, &out)
				}
				continue
			}
			if sign == "<eof" {
				if _, err := s.in.Peek(1); err != io.EOF || len(got) > 0 {
					t.Fatalf("line %d: want the connection closed, got %v (and %q)", i+1, err, got)
				}
				s.closed = true
				break
			}
			if len(got) == 0 {
				var err error
				if got, err = s.receive(); err != nil {
					t.Fatalf("line %d: want %q, got %v", i+1, rest, err)
				}
			}
			if got[0] != rest {
				t.Fatalf("line %d: got %q, want %q", i+1, got[0], rest)
			}
			got = got[1:]
		case "set", "", "#":
		default:
			t.Fatalf("line %d: %q", i+1, line)
		}
		fmt.Fprintln(&out, line)
	}
	if len(got) > 0 {
		t.Fatalf("at the end: not in the transcript: %q", got)
	}
	finish()
	return out.String()
}

// receiveAll writes down what is received until the server is silent.
func receiveAll(s *session, out *strings.Builder) {
	defer s.nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		s.nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		lines, err := s.receive()
		if err == io.EOF {
			s.closed = true
			fmt.Fprintln(out, "<eof")
		}
		if err != nil {
			return
		}
		for _, l := range lines {
			fmt.Fprintf(out, "< %s\n", l)
		}
	}
}

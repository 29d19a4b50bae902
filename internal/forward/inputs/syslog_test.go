package inputs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// framesOf returns what a stream gives that comes in pieces of a size, as text.
func framesOf(data string, size int, s lines.Settings) (all []string, err error) {
	var f framer
	f.set(s)
	yield := func(fr frame) error {
		switch {
		case fr.skipped:
			all = append(all, fmt.Sprintf("skipped %d", fr.left))
		case fr.left > 0:
			all = append(all, fmt.Sprintf("cut %d", fr.left))
		default:
			all = append(all, show(feed.Message{Body: fr.body, Part: fr.part, Last: fr.last}))
			if fr.first != (fr.part <= 1) {
				return errTest
			}
		}
		return nil
	}
	for p := range slices.Chunk([]byte(data), size) {
		if err := f.write(p, yield); err != nil {
			return all, err
		}
	}
	return all, f.end(yield)
}

func TestFraming(t *testing.T) {
	for _, test := range []struct {
		name, data string
		settings   lines.Settings
		want       []string
		bad        bool
	}{
		{"nothing", "", lines.Settings{}, nil, false},
		{"LF", "<1>a\n<2>b\n", lines.Settings{}, []string{"<1>a", "<2>b"}, false},
		{"NUL", "<1>a\x00<2>b\x00<3>c", lines.Settings{}, []string{"<1>a", "<2>b", "<3>c"}, false},
		{"both", "<1>a\x00\n<2>b\n\x00", lines.Settings{}, []string{"<1>a", "<2>b"}, false},
		{"count", "4 <1>a5 <2>\nb", lines.Settings{}, []string{"<1>a", "<2>\nb"}, false},
		{"by message", "4 <1>a<2>b\n4 <3>c\n<4>d\n0 4 <5>e", lines.Settings{}, []string{"<1>a", "<2>b", "<3>c", "<4>d", "<5>e"}, false},
		{"CR", "<1>a\r\n4 <2>\r", lines.Settings{}, []string{"<1>a\r", "<2>\r"}, false},
		{"trim", "<1>a\r\n4 <2>\r", lines.Settings{TrimCR: true}, []string{"<1>a", "<2>\r"}, false},
		{"half", "9 <1>a", lines.Settings{}, []string{"<1>a"}, false},
		{"half a count", "<1>a\n12", lines.Settings{}, []string{"<1>a"}, false},
		{"no count", "<1>a\n2006-01-02 hello\n", lines.Settings{}, []string{"<1>a"}, true},
		{"too large a count", "65537 a", lines.Settings{}, nil, true},
		{"a count without end", "000001 a", lines.Settings{}, nil, true},
		{"a count and LF", "4\n<1>a", lines.Settings{}, nil, true},
		{"the longest", "abcde\n5 abcde", lines.Settings{Max: 5}, []string{"abcde", "abcde"}, false},
		{"the longest and CR", "abcde\r\n", lines.Settings{Max: 5, TrimCR: true}, []string{"abcde"}, false},
		{"split", "abcdef\n12 abcdefghijkl<1>a\n", lines.Settings{Max: 5}, []string{"1:abcde", "2:f.", "1:abcde", "2:fghij", "3:kl.", "<1>a"}, false},
		{"split, CR", "abcde\r\n", lines.Settings{Max: 5}, []string{"1:abcde", "2:\r."}, false},
		{"truncate", "abcdef\n12 abcdefghijkl<1>a\n", lines.Settings{Max: 5, Long: lines.Truncate}, []string{"abcde", "cut 1", "abcde", "cut 7", "<1>a"}, false},
		{"skip", "abcdef\n12 abcdefghijkl<1>a\n", lines.Settings{Max: 5, Long: lines.Skip}, []string{"skipped 6", "skipped 12", "<1>a"}, false},
		{"skip at the end", "abcdefghijkl", lines.Settings{Max: 5, Long: lines.Skip}, []string{"skipped 12"}, false},
	} {
		for _, size := range []int{1, 2, 3, 5, 1000} {
			if test.settings.Max == 0 {
				test.settings.Max = 100
			}
			got, err := framesOf(test.data, size, test.settings)
			if !slices.Equal(got, test.want) || errors.Is(err, errBadCount) != test.bad || err != nil && !test.bad {
				t.Errorf("%s in pieces of %d: %q, %v; want %q", test.name, size, got, err, test.want)
			}
		}
	}
}

func FuzzFraming(f *testing.F) {
	for _, seed := range []string{"<1>a\n<2>b", "4 <1>a5 <2>\nb", "9 abc", "abcdefghijklmno\n", "12345 a\x00"} {
		f.Add([]byte(seed), uint8(3), uint8(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, size, long uint8) {
		s := lines.Settings{Max: 7, Long: lines.Long(long % 3)}
		whole, err := framesOf(string(data), len(data)+1, s)
		pieces, err2 := framesOf(string(data), int(size)+1, s)
		if !slices.Equal(whole, pieces) || err != err2 {
			t.Errorf("%q: %q, %v; in pieces: %q, %v", data, whole, err, pieces, err2)
		}
		if err != nil && err != errBadCount {
			t.Error(err)
		}
		for _, text := range whole {
			if !strings.HasPrefix(text, "cut ") && !strings.HasPrefix(text, "skipped ") && len(text) > 7+5 {
				t.Errorf("too long: %q", text)
			}
		}
	})
}

func TestSyslogParse(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, zone)
	for _, test := range []struct {
		body                            string
		app, procid, facility, severity string
		sent                            time.Time
		ok                              bool
	}{
		{"<30>Jan  1 22:14:15 host app[12]: hello", "app", "12", "daemon", "info", time.Date(2026, 1, 1, 22, 14, 15, 0, zone), true},
		{"<30>Dec 31 22:14:15 app[12]: hello", "app", "12", "daemon", "info", time.Date(2025, 12, 31, 22, 14, 15, 0, zone), true}, // as syslog(3) does
		{"<0>Jan 02 00:00:00 h su: x\n", "su", "", "kern", "emerg", time.Date(2026, 1, 2, 0, 0, 0, 0, zone), true},
		{"<30>2024-01-02T03:04:05.5+02:00 host app: hello", "app", "", "daemon", "info", time.Date(2024, 1, 2, 1, 4, 5, 5e8, time.UTC), true},
		{"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 my/proc 8710 - - %% It's time", "my/proc", "8710", "local4", "notice", time.Date(2003, 8, 24, 12, 14, 15, 3000, time.UTC), true},
		{"<1>1 - - - - - -", "", "", "kern", "alert", time.Time{}, true},
		{"<165>1 2003-08-24T05:14:15Z h a 1 - [bad sd", "a", "1", "local4", "notice", time.Date(2003, 8, 24, 5, 14, 15, 0, time.UTC), false},
		{"<30>hello", "", "", "daemon", "info", time.Time{}, false},
		{"<192>1 - - a - - -", "", "", "", "", time.Time{}, false},
		{"hello", "", "", "", "", time.Time{}, false},
		{"<", "", "", "", "", time.Time{}, false},
		{"\xff\x00", "", "", "", "", time.Time{}, false},
	} {
		m := feed.Message{Body: []byte(test.body)}
		ok := newParser().parse(&m, now)
		if ok != test.ok || m.App != test.app || m.ProcID != test.procid || m.Facility != test.facility || m.Severity != test.severity || !m.Sent.Equal(test.sent) || string(m.Body) != test.body {
			t.Errorf("%q: %v, %+v", test.body, ok, m)
		}
	}
}

func FuzzSyslogParse(f *testing.F) {
	for _, seed := range []string{"<30>Jan  1 22:14:15 host app[12]: hello", "<165>1 2003-08-24T05:14:15.000003-07:00 h a 8710 - [a b=\"c\"] x", "<30>", "<165>1 2003-08-24T05:14:15.000003-07:00 h a 8710 - - x"} {
		f.Add([]byte(seed))
	}
	p := newParser()
	f.Fuzz(func(t *testing.T, body []byte) {
		m := feed.Message{Body: bytes.Clone(body)}
		p.parse(&m, time.Unix(1e9, 0))
		sameAsParser(t, p, string(body))
		if !bytes.Equal(m.Body, body) {
			t.Errorf("%q became %q", body, m.Body)
		}
		if len(m.App)+len(m.ProcID) > len(body) {
			t.Errorf("%q: %q, %q", body, m.App, m.ProcID)
		}
	})
}

// A parser that panics spoils no message but its own.
func TestSyslogParserPanics(t *testing.T) {
	p := newParser()
	p.rfc3164 = nil // which panics
	m := feed.Message{Body: []byte("<30>Jan  1 22:14:15 host app[12]: hello")}
	if p.parse(&m, time.Now()) || m.App != "" {
		t.Errorf("%+v", m)
	}
	if !p.parse(&m, time.Now()) || m.App != "app" {
		t.Errorf("the next: %+v", m)
	}
}

// testTLS is the TLS of a server with a certificate of its own, and the pool for it.
func testTLS(t *testing.T) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestSyslogStreams(t *testing.T) {
	const data = "<30>Jan  1 22:14:15 host app[12]: one\n15 <30>1 - - b - -hello\x00<30>Jan  1 22:14:15 c: a long line is this\n"
	want := []string{"<30>Jan  1 22:14:15 host app[12]: one", "<30>1 - - b - -", "hello", "1:<30>Jan  1 22:14:15 c: a long line is thi", "2:s."}
	config, pool := testTLS(t)
	for _, from := range []string{"syslog+tcp://127.0.0.1:0", "syslog+unix:", "syslog+tls://127.0.0.1:0"} {
		t.Run(from, func(t *testing.T) {
			if strings.HasSuffix(from, "unix:") {
				from += socketPath(t)
			}
			var s sink
			in, counters := start(t, from, &s, func(c *Config) { c.TLS, c.MaxLine = config, 41 })
			if in.config.Load().From.Network == "tls" {
				// One who speaks no TLS does no harm, and is told nothing.
				nc := dial(t, in)
				io.WriteString(nc, data)
				closeWrite(t, nc)
				if got, _ := io.ReadAll(nc); bytes.Contains(got, []byte("ERR")) {
					t.Errorf("without TLS: %q", got)
				}
				secured, err := tls.Dial("tcp", in.Addr().String(), &tls.Config{RootCAs: pool})
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(secured, data)
				secured.Close()
			} else {
				send(t, in, data)
			}
			eventually(t, "all is taken", func() bool { return len(s.messages()) == len(want) })
			equal(t, "taken", shown(&s), want)
			var apps []string
			for _, m := range s.messages() {
				apps = append(apps, m.App)
			}
			equal(t, "apps", apps, []string{"app", "b", "", "c", "c"})
			if n := counters.ParseFailures.Load(); n < 1 || n > 2 {
				t.Errorf("%d could not be parsed", n)
			}
			if n := counters.LinesSplit.Load(); n != 1 {
				t.Errorf("%d were split", n)
			}
		})
	}
}

// What has arrived when the input stops is taken, over TLS, too.
func TestSyslogStopTLS(t *testing.T) {
	config, pool := testTLS(t)
	s := &sink{room: make(chan struct{})}
	in, counters := start(t, "syslog+tls://127.0.0.1:0", s, func(c *Config) { c.TLS = config })
	nc, err := tls.Dial("tcp", in.Addr().String(), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "<1>a\n")
	eventually(t, "blocked", func() bool { return counters.Blocked.Total() > 0 })
	for i := range 100 {
		fmt.Fprintf(nc, "<1>%d\n", i)
	}
	stopped := make(chan error)
	go func() { stopped <- in.Stop(t.Context()) }()
	<-in.stopping
	close(s.room)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if n := len(s.messages()); n != 101 {
		t.Errorf("%d were taken", n)
	}
}

// A connection whose messages can't be told apart is closed; what came before is taken.
func TestSyslogBadCount(t *testing.T) {
	var s sink
	in, _ := start(t, "syslog+tcp://127.0.0.1:0", &s, nil)
	nc := dial(t, in)
	io.WriteString(nc, "<1>a\n99999 b")
	if n, err := nc.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("it is open")
	}
	equal(t, "taken", s.bodies(), []string{"<1>a"})
}

func TestDatagrams(t *testing.T) {
	for _, from := range []string{"syslog+udp://127.0.0.1:0", "syslog+unixgram:"} {
		t.Run(from, func(t *testing.T) {
			network := "udp"
			if strings.HasSuffix(from, "unixgram:") {
				network, from = "unixgram", from+socketPath(t)
			}
			var s sink
			in, counters := start(t, from, &s, func(c *Config) { c.MaxLine = 60 })
			nc, err := net.Dial(network, strings.TrimPrefix(in.Addr().String(), "unix:"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			long := "<1>" + strings.Repeat("x", 100)
			for _, body := range []string{"<30>Jan  1 22:14:15 app[12]: one\ntwo\n", "", "hello", long} {
				if _, err := nc.Write([]byte(body)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all is taken", func() bool { return len(s.messages()) == 4 })
			equal(t, "taken", shown(&s), []string{"<30>Jan  1 22:14:15 app[12]: one\ntwo\n", "hello", "1:" + long[:60], "2:" + long[60:] + "."})
			m := s.messages()[0]
			if m.App != "app" || network == "udp" && m.Remote != nc.LocalAddr().String() || network != "udp" && m.Remote != "" {
				t.Errorf("%+v", m)
			}
			if n := counters.ParseFailures.Load(); n != 2 {
				t.Errorf("%d could not be parsed", n)
			}
			// Without room they are dropped, and the sender goes on.
			s.mu.Lock()
			s.room = make(chan struct{})
			s.mu.Unlock()
			for range 300 {
				if _, err := nc.Write([]byte("<1>dropped")); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all are dropped", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.sources[0].dropped == 300
			})
			s.mu.Lock()
			s.room = nil
			s.mu.Unlock()
			// What has arrived is taken when the input stops.
			for i := range 100 {
				fmt.Fprintf(nc, "<1>%d", i)
			}
			stop(t, in)
			if n := len(s.messages()); n != 104 {
				t.Errorf("%d are taken at the end", n)
			}
			if path, ok := strings.CutPrefix(from, "syslog+unixgram:"); ok {
				if _, err := os.Stat(path); !os.IsNotExist(err) {
					t.Errorf("the socket is there: %v", err)
				}
			}
		})
	}
}

// What the kernel drops is a hole, also if nothing comes behind it: sent is taken and
// dropped.
func TestKernelDrops(t *testing.T) {
	gate := make(chan struct{})
	s := &sink{broken: func() { <-gate }}
	var logged bytes.Buffer
	f, _ := ParseFrom("syslog+udp://127.0.0.1:0")
	var counters Counters
	in, err := Start(Config{Name: "test", From: f, Full: feed.Drop, ReceiveBuffer: 1 << 30}, s, &counters, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if text := logged.String(); !strings.Contains(text, "receive-buffer") {
		t.Errorf("logged: %s", text)
	}
	stop(t, in)

	in, _ = start(t, "syslog+udp://127.0.0.1:0", s, func(c *Config) { c.ReceiveBuffer = 4096 })
	nc, err := net.Dial("udp", in.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const sent = 1000
	body := bytes.Repeat([]byte("x"), 500)
	for range sent {
		if _, err := nc.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	count := func() (taken, dropped int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.sources {
			taken += int64(len(l.messages))
			for _, h := range l.holes {
				if h.Kind == feed.KernelDropped {
					dropped += h.Messages
				}
			}
		}
		return taken, dropped
	}
	if runtime.GOOS != "linux" {
		t.Skip("this system does not count")
	}
	eventually(t, "all is accounted for", func() bool {
		taken, dropped := count()
		return taken+dropped == sent
	})
	if taken, dropped := count(); taken == 0 || dropped == 0 {
		t.Errorf("%d taken, %d dropped: the test shows nothing", taken, dropped)
	}
	// The control: without the holes, it would not add up.
	if taken, _ := count(); taken == sent {
		t.Error("nothing was lost")
	}
}

// syslog(3) is never kept waiting by an input that has no room.
func TestUnixgramNeverBlocks(t *testing.T) {
	s := &sink{room: make(chan struct{})}
	in, _ := start(t, "syslog+unixgram:"+socketPath(t), s, nil)
	nc, err := net.Dial("unixgram", strings.TrimPrefix(in.Addr().String(), "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range 5000 {
		deadline, _ := ctx.Deadline()
		nc.SetWriteDeadline(deadline)
		if _, err := nc.Write([]byte("<1>a")); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

package tests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/testkit"
)

// abused is a server that speaks TLS and wants a token, and clients of it that have one.
type abused struct {
	*server
	trust *x509.CertPool
	token string // of the bystander
	slow  string // of who may use the topics whose names begin so, and does it badly
}

const (
	abusedAuthTimeout = 3 * time.Second
	abusedTimeout     = 3 * time.Second
)

func startAbused(t *testing.T) *abused {
	dir := t.TempDir()
	authority := testkit.NewAuthority(t)
	cert, key := authority.Issue(t, "server", []string{"127.0.0.1"})
	a := &abused{trust: x509.NewCertPool(), token: "a-token-that-nobody-guesses", slow: "a-token-of-who-is-slow-at-all"}
	a.trust.AddCert(authority.Cert)
	rules := filepath.Join(dir, "auth.toml")
	text := "version = 1\n"
	for _, identity := range [][3]string{
		{"bystander", a.token, "read,write,create,position,monitor *"},
		{"slow", a.slow, "read,write,create,position slow*"},
	} {
		text += fmt.Sprintf("[[identity]]\nname = %q\ntokens = [\"sha256:%x\"]\nallow = [%q]\n", identity[0], sha256.Sum256([]byte(identity[1])), identity[2])
	}
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.server = start(t, filepath.Join(dir, "data"), "--tls-cert", cert, "--tls-key", key, "--auth-file", rules, "--max-connections", "10000",
		"--auth-timeout", abusedAuthTimeout.String(), "--timeout", abusedTimeout.String())
	return a
}

// dialFrom connects from an address of this machine. The last two numbers are of 127.0.x.y.
func (a *abused) dialFrom(x, y byte) (net.Conn, error) { return dialFrom(a.addr, x, y) }

func dialFrom(addr string, x, y byte) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, x, y)}}
	return d.Dial("tcp", addr)
}

func (a *abused) config() *tls.Config { return &tls.Config{RootCAs: a.trust, ServerName: "127.0.0.1"} }

// guest is a connection with TLS.
type guest struct {
	conn
	tls *tls.Conn
}

// visit connects with TLS from 127.0.x.y.
func (a *abused) visit(x, y byte) (*guest, error) {
	nc, err := a.dialFrom(x, y)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(patience))
	c := tls.Client(nc, a.config())
	if err := c.Handshake(); err != nil {
		nc.Close()
		return nil, err
	}
	return &guest{conn{in: bufio.NewReader(c)}, c}, nil
}

func (g *guest) close() { g.tls.NetConn().Close() }

// ask sends a request that has one line as its answer.
func (g *guest) ask(request string) (string, error) {
	g.tls.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(g.tls, request); err != nil {
		return "", err
	}
	return g.answer()
}

// bystander is a client that writes and reads all the time.
type bystander struct {
	g      *guest
	stop   context.CancelFunc
	done   chan struct{}
	err    error
	delays []time.Duration // of requests
}

// newBystander lets a client begin.
func (a *abused) newBystander(t *testing.T) *bystander {
	t.Helper()
	g, err := a.visit(0, 2)
	if err == nil {
		_, err = g.ask("AUTH " + a.token + "\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := &bystander{g: g, stop: cancel, done: make(chan struct{})}
	t.Cleanup(func() { b.end() })
	go func() {
		defer close(b.done)
		defer g.close()
		b.err = b.run(ctx)
	}()
	return b
}

func (b *bystander) run(ctx context.Context) error {
	for i := 0; ctx.Err() == nil; i++ {
		body := fmt.Sprint("message ", i)
		begun := time.Now()
		line, err := b.g.ask(encode("bystander", body))
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		written := time.Now()
		var offset, n int64
		if _, err := fmt.Sscanf(line, "OK %d %d", &offset, &n); err != nil {
			return fmt.Errorf("append is answered %q", line)
		}
		if _, err := fmt.Fprintf(b.g.tls, "READ bystander %d 1\r\n", offset); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		_, batches, err := b.g.batches()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if len(batches) != 1 || batches[0].messages[0].body != body {
			return fmt.Errorf("%v was read at %d", batches, offset)
		}
		b.delays = append(b.delays, written.Sub(begun), time.Since(written))
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// end ends the client and returns what it has met.
func (b *bystander) end() ([]time.Duration, error) {
	b.stop()
	<-b.done
	return b.delays, b.err
}

// slowest returns what 99 of 100 delays are within.
func slowest(delays []time.Duration) time.Duration {
	delays = slices.Sorted(slices.Values(delays))
	return delays[(len(delays)*99+99)/100-1]
}

// unfair says what is wrong with the delays of a client beside others that do no good; by
// itself it had alone. A machine that does something else as well takes some time of both.
func unfair(delays []time.Duration, alone time.Duration) error {
	const most, noise = 250 * time.Millisecond, 100 * time.Millisecond
	if len(delays) == 0 {
		return errors.New("it was not served")
	}
	if got, want := slowest(delays), min(most, max(5*alone, noise)); got > want {
		return fmt.Errorf("99 %% of requests are answered within %v, want %v; alone %v", got, want, alone)
	}
	return nil
}

// TestUnfair makes sure that a client which is kept waiting is told from one that is not.
func TestUnfair(t *testing.T) {
	ms := func(n int, of time.Duration) []time.Duration {
		return slices.Repeat([]time.Duration{of * time.Millisecond}, n)
	}
	for name, test := range map[string]struct {
		delays []time.Duration
		alone  time.Duration
		unfair bool
	}{
		"as alone":           {ms(200, 20), 20, false},
		"five times":         {ms(200, 200), 40, false},
		"more":               {ms(200, 201), 40, true},
		"noise":              {ms(200, 100), 1, false},
		"a slow machine":     {ms(200, 251), 100, true},
		"one of 100":         {append(ms(99, 1), ms(1, 1000)...), 1, false},
		"two of 100":         {append(ms(98, 1), ms(2, 1000)...), 1, true},
		"not served":         {nil, 1, true},
		"fewer than 100":     {append(ms(9, 1), ms(1, 1000)...), 1, true},
		"one of many":        {append(ms(999, 1), ms(1, 1000)...), 1, false},
		"eleven of thousand": {append(ms(989, 1), ms(11, 1000)...), 1, true},
	} {
		if err := unfair(test.delays, test.alone*time.Millisecond); (err != nil) != test.unfair {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAbuse: whatever strangers do, in numbers, a client that is known is served as if
// they were not there, or nearly so, and the server takes little for them.
func TestAbuse(t *testing.T) {
	if brief() {
		t.Skip("what takes how long says nothing here")
	}
	full := setting(t, "LOGD_ABUSE", 0) != 0
	size := func(all, some int) int {
		if full {
			return all
		}
		return some
	}
	descriptors(t, uint64(size(18000, 6000))) // of which HTTP has an eighth
	a := startAbused(t)
	b := a.newBystander(t)
	time.Sleep(time.Duration(size(3, 1)) * time.Second)
	delays, err := b.end()
	if err != nil {
		t.Fatal(err)
	}
	alone := slowest(delays)
	t.Logf("alone: 99 %% of %d requests within %v", len(delays), alone)
	for _, flood := range []struct {
		name string
		of   func(t *testing.T, a *abused) error // nil, or what was too slow
	}{
		{"silent", func(t *testing.T, a *abused) error { return silent(t, a, size(2000, 300)) }},
		{"handshakes", func(t *testing.T, a *abused) error { return handshakes(t, a, 500, size(10, 1)) }},
		{"key updates", func(t *testing.T, a *abused) error { return keyUpdates(t, a, size(5, 1)) }},
		{"guesses", func(t *testing.T, a *abused) error { return guesses(t, a, size(20, 3)) }},
		{"names of consumers", func(t *testing.T, a *abused) error { return consumerNames(t, a, size(20_000, 12_000)) }},
		{"slow bodies", func(t *testing.T, a *abused) error { return slowBodies(t, a, size(2000, 300)) }},
		{"slow readers", func(t *testing.T, a *abused) error { return slowReaders(t, a, size(2000, 300)) }},
	} {
		t.Run(flood.name, func(t *testing.T) {
			var slow error
			for try := range 3 {
				quiet := a.watchMachine(t)
				b := a.newBystander(t)
				late := flood.of(t, a)
				delays, err := b.end()
				if err != nil {
					t.Fatalf("the client that is known: %v", err)
				}
				err = errors.Join(late, unfair(delays, alone))
				if err == nil {
					t.Logf("99 %% of %d requests within %v", len(delays), slowest(delays))
					return
				}
				others := quiet()
				t.Logf("try %d, others have %.0f %% of the machine: %v", try, 100*others, err)
				if others < 0.25 {
					slow = err
				}
			}
			if slow != nil {
				t.Error(slow)
			}
		})
	}
}

// watchMachine returns a function that tells which part of the machine other programs have
// had since, which says how much times are worth. Where that is not known it is none.
func (a *abused) watchMachine(t *testing.T) func() float64 {
	used := func() (all, others float64) {
		fields := func(name string) (numbers []float64) {
			text, err := os.ReadFile(name)
			if err != nil {
				return make([]float64, 64)
			}
			line, _, _ := strings.Cut(string(text), "\n")
			for _, word := range strings.Fields(line) {
				n, _ := strconv.ParseFloat(word, 64)
				numbers = append(numbers, n)
			}
			return append(numbers, make([]float64, 64)...)
		}
		cpu := fields("/proc/stat") // of all processors: user, nice, system, idle, ..., steal
		for _, n := range cpu[1:9] {
			all += n
		}
		others = cpu[1] + cpu[2] + cpu[3] + cpu[8]
		for _, pid := range []int{os.Getpid(), a.cmd.Process.Pid} {
			its := fields(fmt.Sprintf("/proc/%d/stat", pid))
			others -= its[13] + its[14]
		}
		return all, others
	}
	all, others := used()
	return func() float64 {
		allNow, othersNow := used()
		return (othersNow - others) / max(1, allNow-all)
	}
}

// silent has n connections that send nothing, or a byte of a handshake a second. They
// have to be gone in time, and take little memory.
func silent(t *testing.T, a *abused, n int) error {
	const addresses = 40 // of which each may have 64
	before, _ := a.resident()
	var group sync.WaitGroup
	var latest, failed atomic.Int64
	for i := range n {
		nc, err := a.dialFrom(1, byte(i%addresses))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		group.Go(func() {
			defer nc.Close()
			nc.SetDeadline(begun.Add(patience))
			got, _ := io.ReadAll(nc) // a reset is an end as well
			took := int64(time.Since(begun))
			for was := latest.Load(); took > was && !latest.CompareAndSwap(was, took); was = latest.Load() {
			}
			// What is refused at once would prove nothing.
			if len(got) > 0 || took < int64(abusedAuthTimeout/2) {
				failed.Add(1)
			}
		})
		if i%2 == 0 {
			continue
		}
		group.Go(func() {
			hello := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 500))
			for at := range hello {
				if _, err := nc.Write(hello[at : at+1]); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
	}
	after, _ := a.resident()
	group.Wait()
	t.Logf("%d connections took %d KiB, and the last was gone after %v", n, (after-before)>>10, time.Duration(latest.Load()))
	if more := after - before; more > 64<<20 {
		t.Errorf("%d connections that say nothing take %d bytes", n, more)
	}
	if f := failed.Load(); f > 0 {
		t.Errorf("%d of %d were told something, or not let in", f, n)
	}
	if late := time.Duration(latest.Load()); late > abusedAuthTimeout+time.Second {
		return fmt.Errorf("one was there for %v, want %v", late, abusedAuthTimeout)
	}
	return nil
}

// handshakes makes so many a second, for so many seconds. None is gone on with.
func handshakes(t *testing.T, a *abused, rate, seconds int) error {
	config := a.config()
	config.CurvePreferences = []tls.CurveID{tls.X25519} // what is cheap for who attacks
	config.InsecureSkipVerify = true
	var group sync.WaitGroup
	var ok, failed atomic.Int64
	const each = 5
	tick := time.NewTicker(time.Second * each / time.Duration(rate))
	defer tick.Stop()
	begun := time.Now()
	for n := 0; n < rate*seconds; n += each {
		<-tick.C
		for i := range each {
			group.Go(func() {
				nc, err := a.dialFrom(2, byte((n+i)%200))
				if err != nil {
					failed.Add(1)
					return
				}
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(patience))
				if err := tls.Client(nc, config).Handshake(); err != nil {
					failed.Add(1)
					return
				}
				ok.Add(1)
			})
		}
	}
	group.Wait()
	t.Logf("%d handshakes in %v; %d failed", ok.Load(), time.Since(begun), failed.Load())
	if ok.Load() < int64(rate*seconds*9/10) {
		return fmt.Errorf("of %d handshakes %d were done", rate*seconds, ok.Load())
	}
	return nil
}

// updater is a client of TLS 1.3 that can update its keys: crypto/tls does that only when
// it is asked to. It writes its own records.
type updater struct {
	raw    net.Conn
	secret []byte
	seal   cipher.AEAD
	iv     []byte
	number uint64 // of the next record
	buf    []byte
}

// newUpdater connects, and shows who it is.
func newUpdater(a *abused) (*updater, error) {
	nc, err := a.dialFrom(3, 1)
	if err != nil {
		return nil, err
	}
	u := &updater{raw: nc}
	if err := u.begin(a); err != nil {
		nc.Close()
		return nil, err
	}
	return u, nil
}

func (u *updater) begin(a *abused) (err error) {
	var keys bytes.Buffer
	config := a.config()
	config.MinVersion, config.KeyLogWriter = tls.VersionTLS13, &keys
	c := tls.Client(u.raw, config)
	u.raw.SetDeadline(time.Now().Add(patience))
	if err := c.Handshake(); err != nil {
		return err
	}
	if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		return fmt.Errorf("%s is not what this client speaks", tls.CipherSuiteName(suite))
	}
	for line := range strings.Lines(keys.String()) {
		if words := strings.Fields(line); words[0] == "CLIENT_TRAFFIC_SECRET_0" {
			if u.secret, err = hex.DecodeString(words[2]); err != nil {
				return err
			}
		}
	}
	if err := u.rekey(); err != nil {
		return err
	}
	u.record(23, "AUTH "+a.token+"\r\n")
	if err := u.flush(); err != nil {
		return err
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "OK\r\n" {
		return fmt.Errorf("AUTH is answered %q: %w", answer, err)
	}
	return nil
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1.
func expand(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(append(info, byte(len(label))), label...), 0)
	return hkdf.Expand(sha256.New, secret, string(info), n)
}

// rekey makes the keys of the secret.
func (u *updater) rekey() error {
	key, err := expand(u.secret, "key", 16)
	if err != nil {
		return err
	}
	if u.iv, err = expand(u.secret, "iv", 12); err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	u.number = 0
	u.seal, err = cipher.NewGCM(block)
	return err
}

// record adds one of a content type to what flush sends.
func (u *updater) record(kind byte, content string) {
	inner := append([]byte(content), kind)
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(inner)+u.seal.Overhead()))
	nonce := slices.Clone(u.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(u.number >> (56 - 8*i))
	}
	u.number++
	u.buf = append(u.buf, header...)
	u.buf = u.seal.Seal(u.buf, nonce, inner, header)
}

// update adds an update of the keys, which asks for the other side's.
func (u *updater) update() (err error) {
	u.record(22, "\x18\x00\x00\x01\x01")
	if u.secret, err = expand(u.secret, "traffic upd", sha256.Size); err != nil {
		return err
	}
	return u.rekey()
}

func (u *updater) flush() error {
	_, err := u.raw.Write(u.buf)
	u.buf = u.buf[:0]
	return err
}

// keyUpdates has clients who are known, which update their keys all the time. Half of them
// read what they are answered; the others are cut at some time.
func keyUpdates(t *testing.T, a *abused, seconds int) error {
	const clients, between = 8, 15 // crypto/tls takes 16 of them without data between
	var group sync.WaitGroup
	var updates atomic.Int64
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	for i := range clients {
		u, err := newUpdater(a)
		if err != nil {
			t.Error(err)
			break
		}
		reads := i%2 == 0
		u.raw.SetDeadline(until)
		if reads {
			group.Go(func() { io.Copy(io.Discard, u.raw) })
		}
		group.Go(func() {
			defer u.raw.Close()
			for {
				for range between {
					if err := u.update(); err != nil {
						t.Error(err)
						return
					}
				}
				u.record(23, "PING\r\n")
				switch err := u.flush(); {
				case errors.Is(err, os.ErrDeadlineExceeded):
					return
				case err != nil && reads:
					t.Errorf("a client that reads its answers: %v", err)
					return
				case err != nil:
					return // it is cut
				}
				updates.Add(between)
				runtime.Gosched() // the client that is known is of this process
			}
		})
	}
	group.Wait()
	t.Logf("%d updates of keys", updates.Load())
	if updates.Load() < 1000 {
		return fmt.Errorf("only %d updates of keys", updates.Load())
	}
	return nil
}

// guesses has 64 connections of one address that guess tokens.
func guesses(t *testing.T, a *abused, seconds int) error {
	const connections, address = 64, 5
	lines := func() int {
		a.log.mu.Lock()
		defer a.log.mu.Unlock()
		return bytes.Count(a.log.text, []byte("\n"))
	}
	before := lines()
	var group sync.WaitGroup
	var answers, guessed atomic.Int64
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	for i := range connections {
		group.Go(func() {
			for n := 0; time.Now().Before(until); {
				g, err := a.visit(4, address)
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				for ; time.Now().Before(until); n++ {
					g.tls.SetDeadline(until)
					fmt.Fprintf(g.tls, "AUTH guess-%d-%d\r\n", i, n)
					line, err := g.answer()
					if _, refused := errors.AsType[refusal](err); refused || err == nil {
						answers.Add(1)
					}
					if err == nil {
						t.Logf("a guess is answered %q", line)
						guessed.Add(1)
					}
					if err != nil && err != refusal("unauthorized") {
						break
					}
				}
				g.close()
			}
		})
	}
	group.Wait()
	// The first 30 in a minute are answered at once, or nearly so, and then each takes 2 s.
	most := int64(30 + connections*(seconds/2+1))
	wrote := lines() - before
	t.Logf("%d answers, %d lines of the log", answers.Load(), wrote)
	if n := answers.Load(); n > most || n == 0 {
		t.Errorf("%d answers, want %d at most", n, most)
	}
	if n := guessed.Load(); n > 0 {
		t.Errorf("%d guesses were right", n)
	}
	if wrote > 100 {
		t.Errorf("the log has %d lines more, want 100 at most", wrote)
	}

	const want = 100 * time.Millisecond
	best := time.Hour
	for range 5 {
		var g *guest
		eventually(t, "who has guessed has left", func() (in bool) {
			var err error
			if g, err = a.visit(4, address); err != nil {
				time.Sleep(20 * time.Millisecond)
			}
			return err == nil
		})
		begun := time.Now()
		if line, err := g.ask("AUTH " + a.token + "\r\n"); err != nil || line != "OK" {
			t.Fatalf("the right token of the same address is answered %q: %v", line, err)
		}
		best = min(best, time.Since(begun))
		g.close()
		if best <= want {
			break
		}
	}
	if best > want {
		return fmt.Errorf("the right token of the same address takes %v, want %v", best, want)
	}
	return nil
}

package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
)

// fileStore has one topic, whose batches are in a file. It counts what is read
// from the file through Go, which sendfile does not do.
type fileStore struct {
	discardStore
	log *fileLog
}

func (s *fileStore) Log([]byte) (topic.Log, error) { return s.log, nil }

type fileLog struct {
	discardLog
	file    *countedFile
	size    int64
	section int64
}

type countedFile struct {
	*os.File
	fd   uintptr
	ok   bool
	read atomic.Int64
}

func (f *countedFile) Fd() (uintptr, bool) { return f.fd, f.ok }

func (f *countedFile) ReadAt(p []byte, pos int64) (int, error) {
	n, err := f.File.ReadAt(p, pos)
	f.read.Add(int64(n))
	return n, err
}

// newFileStore returns a store with one batch of about size bytes, in a file
// that it does not begin at the start of, and the batch.
func newFileStore(t testing.TB, size int, section int64) (*fileStore, string) {
	b := testkit.Batch("t", strings.Repeat("0123456789", size/10))
	name := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(name, []byte(strings.Repeat("?", filePosition)+b+"???"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	file := &countedFile{File: f, fd: f.Fd(), ok: true}
	return &fileStore{log: &fileLog{file: file, size: int64(len(b)), section: section}}, b
}

const filePosition = 1000

func (l *fileLog) Read(offset, _, _ int64) (topic.View, error) { return fileView{l}, nil }

type fileView struct{ log *fileLog }

func (v fileView) Offset() int64        { return 0 }
func (v fileView) Batches() int64       { return 1 }
func (v fileView) Len() int64           { return v.log.size }
func (v fileView) Close()               {}
func (v fileView) Codecs() batch.Codecs { return 0 }
func (v fileView) Cut(int64, int64)     {}
func (v fileView) Sections() int        { return int((v.log.size + v.log.section - 1) / v.log.section) }
func (v fileView) Section(i int) (io.ReaderAt, int64, int64) {
	pos := int64(i) * v.log.section
	return v.log.file, filePosition + pos, min(v.log.section, v.log.size-pos)
}

// wrappedConn is what a connection must not be for sendfile to be used: not
// the bare one.
type wrappedConn struct{ net.Conn }

// TestReadsUseSendfile: over TCP, and over a unix socket, what is read goes from the file's descriptor
// to the socket; no byte of it is read by the server. The other cases are the
// control: there every byte is read, and the same check sees it.
func TestReadsUseSendfile(t *testing.T) {
	const size = 3 << 20 // more than a socket takes, and than is sent under one deadline
	for _, section := range []int64{1 << 40, 100_000} {
		for _, test := range []struct {
			name     string
			network  string
			wrap     func(net.Conn) net.Conn
			hide     bool // the file's descriptor
			sendfile bool
		}{
			{"tcp", "tcp", func(nc net.Conn) net.Conn { return nc }, false, true},
			{"unix", "unix", func(nc net.Conn) net.Conn { return nc }, false, true},
			{"wrapped tcp", "tcp", func(nc net.Conn) net.Conn { return wrappedConn{nc} }, false, false},
			{"wrapped unix", "unix", func(nc net.Conn) net.Conn { return wrappedConn{nc} }, false, false},
			{"file without a descriptor", "tcp", func(nc net.Conn) net.Conn { return nc }, true, false},
		} {
			t.Run(fmt.Sprintf("%s/%d", test.name, section), func(t *testing.T) {
				store, b := newFileStore(t, size, section)
				store.log.file.ok = !test.hide
				s := server.New(server.Options{Store: store})
				t.Cleanup(func() { s.Close() })
				client, srv := pair(t, test.network)
				s.ServeConn(test.wrap(srv))
				client.SetDeadline(time.Now().Add(30 * time.Second))
				const rounds = 2
				fmt.Fprint(client, strings.Repeat("READ t 0 1\r\n", rounds)+"CLOSE\r\n")
				got, err := io.ReadAll(client)
				if want := strings.Repeat("OK 0 1\r\n"+b, rounds) + "OK\r\n"; err != nil || !bytes.Equal(got, []byte(want)) {
					t.Fatalf("received %d bytes (%v), not the %d wanted", len(got), err, len(want))
				}
				var read int64
				if !test.sendfile {
					read = int64(rounds * len(b))
				}
				if got := store.log.file.read.Load(); got != read {
					t.Errorf("%d bytes were read to be sent, want %d", got, read)
				}
				if calls := s.Stats().Sendfiles; (calls > 0) != test.sendfile {
					t.Errorf("%d calls of sendfile", calls)
				}
			})
		}
	}
}

// tcpPair returns both sides of a TCP connection.
func tcpPair(t testing.TB) (client, srv net.Conn) {
	t.Helper()
	return pair(t, "tcp")
}

// pair returns both sides of a connection, of tcp or unix.
func pair(t testing.TB, network string) (client, srv net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if srv, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, srv
}

// TestFileShorterThanPromised: a client that can't be given what its answer
// said is cut, and is not sent something else.
func TestFileShorterThanPromised(t *testing.T) {
	for _, wrap := range []func(net.Conn) net.Conn{
		func(nc net.Conn) net.Conn { return nc },
		func(nc net.Conn) net.Conn { return wrappedConn{nc} },
	} {
		store, b := newFileStore(t, 100_000, 1<<40)
		if err := os.Truncate(store.log.file.Name(), filePosition+50_000); err != nil {
			t.Fatal(err)
		}
		s := server.New(server.Options{Store: store})
		client, srv := tcpPair(t)
		s.ServeConn(wrap(srv))
		client.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprint(client, "READ t 0 1\r\nPING\r\n")
		got, _ := io.ReadAll(client)
		if want := "OK 0 1\r\n" + b[:50_000]; !strings.HasPrefix(want, string(got)) {
			t.Errorf("received %d bytes, more than is in the file, or not what is", len(got))
		}
		s.Close()
	}
}

// TestReaderThatStopsReading over TCP: it is cut after Timeout, with the
// answers it does not take and the file it is sent.
func TestReaderThatStopsReading(t *testing.T) {
	store, _ := newFileStore(t, 32<<20, 1<<40)
	s := server.New(server.Options{Store: store, Timeout: 50 * time.Millisecond, IdleTimeout: time.Minute})
	addr := serveTCP(t, s)
	readers := []net.Conn{dialAddr(t, addr), dialAddr(t, addr)}
	good := dialAddr(t, addr)
	fmt.Fprint(readers[0], "READ t 0 1\r\n")
	go fmt.Fprint(readers[1], strings.Repeat("CONFIG\r\n", 1<<20))
	testkit.Eventually(t, func() string {
		fmt.Fprint(good, "PING\r\n")
		if _, err := io.ReadFull(good, make([]byte, len("OK\r\n"))); err != nil {
			t.Fatal(err)
		}
		if n := s.Stats().Connections; n != 1 {
			return fmt.Sprintf("%d connections are left", n)
		}
		return ""
	})
}

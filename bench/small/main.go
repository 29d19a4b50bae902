// Small measures what one small request and its answer cost a server, beside other
// servers and other builds of logd, which take turns. Its own part is as small as can be:
// one thread, bare sockets, requests that are made before.
//
//	(cd .. && go build -o /tmp/logd ./cmd/logd)
//	go run ./small -servers logd=/tmp/logd,redis=redis-server
//	go run ./small -servers old=/tmp/logd-old,new=/tmp/logd-new -connections 64 -rounds 7
//	go run ./small -servers logd=/tmp/logd,redis=redis-server -sync=false -topics 1000 -connections 64
//
// A server whose program is called redis-server is Redis, any other is logd. They listen
// on 127.0.0.1 alone, keep their data in a temporary folder that is removed, and end with
// the command.
//
// The figure to compare is the processor time: it depends less than the others on what else
// the machine does, and still so much that only ratios of one run say something.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/bench/internal/process"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "small:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	duration time.Duration
	data     string
	topics   int
	sync     bool
}

func run() error {
	var o options
	list := flag.String("servers", "", "`LIST` of NAME=PROGRAM")
	connections := flag.String("connections", "1,8,64", "`LIST` of how many connections there are, each with one request at a time")
	rounds := flag.Int("rounds", 5, "`N`umber of rounds, of which medians are told")
	flag.DurationVar(&o.duration, "duration", time.Second, "how `LONG` each server is measured in each round")
	flag.StringVar(&o.data, "data", "/var/tmp", "keep the servers' data in a temporary folder in `DIR`, which should be on a real disk")
	flag.IntVar(&o.topics, "topics", 1, "`N`umber of topics that requests go to in turns")
	flag.BoolVar(&o.sync, "sync", true, "have servers sync before they answer")
	flag.Parse()
	var servers []server
	for item := range strings.SplitSeq(*list, ",") {
		name, program, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("-servers: %q is not NAME=PROGRAM", item)
		}
		servers = append(servers, server{name: name, program: program, redis: filepath.Base(program) == "redis-server"})
	}
	var numbers []int
	for item := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(item)
		if err != nil || n < 1 {
			return fmt.Errorf("-connections: %q is no number of them", item)
		}
		numbers = append(numbers, n)
	}
	if *rounds < 1 || o.topics < 1 {
		return errors.New("-rounds and -topics are at least 1")
	}
	runtime.LockOSThread()
	fmt.Printf("%d rounds of %v, synced: %v, topics: %d; µs of the server's processors for a request, requests/s, p50 and p99 in µs\n", *rounds, o.duration, o.sync, o.topics)
	for _, n := range numbers {
		results := make([][]result, len(servers))
		for round := range *rounds {
			for i := range servers {
				i = (i + round) % len(servers) // nobody is always first
				r, err := servers[i].measure(n, &o)
				if err != nil {
					return fmt.Errorf("%s: %w", servers[i].name, err)
				}
				results[i] = append(results[i], r)
			}
		}
		for i, s := range servers {
			median := func(of func(result) float64) float64 {
				slices.SortFunc(results[i], func(a, b result) int { return cmp.Compare(of(a), of(b)) })
				return of(results[i][len(results[i])/2])
			}
			fmt.Printf("%3d connections  %-10s %7.2f µs  %8.0f/s  p50 %6.0f  p99 %6.0f\n", n, s.name,
				median(func(r result) float64 { return r.cpu }), median(func(r result) float64 { return r.rate }),
				median(func(r result) float64 { return r.p50 }), median(func(r result) float64 { return r.p99 }))
		}
	}
	return nil
}

type server struct {
	name, program string
	redis         bool
}

// result is what one server has done in one round.
type result struct{ cpu, rate, p50, p99 float64 }

// measure starts the server, measures it, and ends it.
func (s *server) measure(connections int, o *options) (r result, err error) {
	dir, err := os.MkdirTemp(o.data, "small-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	addr, err := freeAddress()
	if err != nil {
		return r, err
	}
	p, err := process.Start(process.Command{Path: s.program, Args: s.args(dir, addr, o.sync), Dir: dir})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.Stop(10*time.Second)) }()
	err = p.Await(context.Background(), func(context.Context) error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		return r, err
	}
	l, err := s.dial(addr, connections, o.topics)
	if err != nil {
		return r, err
	}
	defer l.close()
	warm := 50*connections + o.topics
	if _, err := l.run(func(done int) bool { return done < warm }); err != nil {
		return r, err
	}
	l.times = l.times[:0]
	cpu, err := p.CPU()
	if err != nil {
		return r, err
	}
	began := time.Now()
	done, err := l.run(func(int) bool { return time.Since(began) < o.duration })
	if err != nil {
		return r, err
	}
	took := time.Since(began)
	then, err := p.CPU()
	slices.Sort(l.times)
	return result{
		cpu:  float64((then - cpu).Nanoseconds()) / 1e3 / float64(done),
		rate: float64(done) / took.Seconds(),
		p50:  float64(l.times[len(l.times)/2].Nanoseconds()) / 1e3,
		p99:  float64(l.times[len(l.times)*99/100].Nanoseconds()) / 1e3,
	}, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *server) args(dir, addr string, sync bool) []string {
	if s.redis {
		_, port, _ := net.SplitHostPort(addr)
		fsync := "everysec"
		if sync {
			fsync = "always"
		}
		return []string{"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--appendonly", "yes", "--appendfsync", fsync, "--save", ""}
	}
	batches := "0"
	if sync {
		batches = "1"
	}
	return []string{"--config", os.DevNull, "--workdir", filepath.Join(dir, "data"), "--host", addr, "--http-host", "", "--topics", "0", "--flush-batches", batches}
}

// request returns a request that stores 100 bytes, and how many lines its answer has.
func (s *server) request(topic string) (request []byte, lines int) {
	body := bytes.Repeat([]byte("x"), 100)
	if s.redis {
		return fmt.Appendf(nil, "*5\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$1\r\nm\r\n$%d\r\n%s\r\n", len(topic), topic, len(body), body), 2
	}
	message := fmt.Appendf(nil, "MSG %d\r\n%s\r\n", len(body), body)
	return fmt.Appendf(nil, "BATCH %d %s %d 1\r\n%s", len(message), topic, crc32.ChecksumIEEE(message), message), 1
}

// loop is connections that each have one request on its way.
type loop struct {
	poll     int
	conns    map[int32]*conn
	requests [][]byte
	next     int // request
	lines    int // of an answer
	times    []time.Duration
	buf      [4096]byte
}

type conn struct {
	fd   int
	got  int // lines of the answer
	sent time.Time
}

// dial connects.
func (s *server) dial(addr string, connections, topics int) (l *loop, err error) {
	l = &loop{conns: make(map[int32]*conn)}
	for i := range topics {
		var r []byte
		r, l.lines = s.request(fmt.Sprintf("bench%05d", i))
		l.requests = append(l.requests, r)
	}
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for range connections {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			l.close()
			return nil, err
		}
		f, err := nc.(*net.TCPConn).File()
		nc.Close()
		if err == nil {
			err = l.add(int(f.Fd()))
			f.Close()
		}
		if err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *loop) add(of int) error {
	fd, err := unix.Dup(of)
	if err != nil {
		return err
	}
	l.conns[int32(fd)] = &conn{fd: fd}
	return errors.Join(unix.SetNonblock(fd, true),
		unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
}

func (l *loop) close() {
	for _, c := range l.conns {
		unix.Close(c.fd)
	}
	unix.Close(l.poll)
}

// run has all connections make requests until more says no to how many are answered, and
// waits for the answers.
func (l *loop) run(more func(done int) bool) (done int, err error) {
	for _, c := range l.conns {
		if err := l.send(c); err != nil {
			return 0, err
		}
	}
	events := make([]unix.EpollEvent, 256)
	for left := len(l.conns); left > 0; {
		n, err := unix.EpollWait(l.poll, events, 10_000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return 0, fmt.Errorf("%d requests have no answer: %v", left, err)
		}
		for _, e := range events[:n] {
			c := l.conns[e.Fd]
			if err := l.receive(c); err != nil {
				return 0, err
			}
			if c.got < l.lines {
				continue
			}
			done++
			l.times = append(l.times, time.Since(c.sent))
			if !more(done) {
				left--
			} else if err := l.send(c); err != nil {
				return 0, err
			}
		}
	}
	return done, nil
}

func (l *loop) send(c *conn) error {
	r := l.requests[l.next%len(l.requests)]
	l.next++
	c.got, c.sent = 0, time.Now()
	if n, err := unix.Write(c.fd, r); err != nil || n < len(r) { // one small request finds room
		return fmt.Errorf("%d bytes are sent: %v", n, err)
	}
	return nil
}

func (l *loop) receive(c *conn) error {
	n, err := unix.Read(c.fd, l.buf[:])
	if err != nil || n == 0 {
		return fmt.Errorf("%d bytes are received: %v", n, err)
	}
	if b := l.buf[0]; c.got == 0 && b != 'O' && b != '$' {
		return fmt.Errorf("the answer is %q", l.buf[:n])
	}
	c.got += bytes.Count(l.buf[:n], []byte("\n"))
	return nil
}

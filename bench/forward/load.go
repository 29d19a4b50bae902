package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/bench/internal/process"
)

// lineLen is the length of a line, with its end.
const lineLen = 200

// load is one way for lines to come in.
type load struct {
	name, what string
	goal       float64 // of the speed of log-cli
	run        func(context.Context, *scene) (result, error)
}

// result is what one round of a load took.
type result struct {
	lines   int64
	seconds float64
	cpu     float64 // seconds, of who brings the lines to logd
}

var loads = []load{
	{"write", "log-cli write --input FILE", 0, write},
	{"file", "a file", 0.8, func(ctx context.Context, s *scene) (result, error) { return s.once(ctx, "file:"+s.file) }},
	{"8files", "the same in 8 files", 0, func(ctx context.Context, s *scene) (result, error) { return s.once(ctx, "file:"+s.parts) }},
	{"json", "a file, format json", 0.4, func(ctx context.Context, s *scene) (result, error) {
		return s.once(ctx, "--format", "json", "file:"+s.file)
	}},
	{"msg", "MSG, a unix socket", 0.5, func(ctx context.Context, s *scene) (result, error) { return s.send(ctx, "msg+unix:", sendMSG(false)) }},
	{"ack", "MSG with ACK, a unix socket", 0.4, func(ctx context.Context, s *scene) (result, error) { return s.send(ctx, "msg+unix:", sendMSG(true)) }},
	{"syslog", "RFC 5424, octets counted, TCP", 0.4, func(ctx context.Context, s *scene) (result, error) {
		return s.send(ctx, "syslog+tcp://", sendSyslog)
	}},
	{"datagrams", "RFC 5424, datagrams of a unix socket", 0, func(ctx context.Context, s *scene) (result, error) {
		return s.send(ctx, "syslog+unixgram:", sendSyslog)
	}},
	{"rsyslog-file", "rsyslog: a file (imfile) to TCP (omfwd), where the lines are counted", 0, rsyslogFile},
	{"rsyslog-tcp", "rsyslog: TCP (imtcp) to a file (omfile)", 0, rsyslogTCP},
}

// scene is a server, and what is sent to it.
type scene struct {
	bin, dir    string
	file, parts string // one file, and the pattern of several, of the same lines
	lines       int64
	server      *process.Process
	addr        string
	client      *logd.Client
	runs        int
}

func begin(ctx context.Context, bin, dir string, lines int64) (*scene, error) {
	s := &scene{bin: bin, dir: dir, lines: lines, file: filepath.Join(dir, "in", "lines.log"), parts: filepath.Join(dir, "in", "part-*.log")}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	s.addr = freeAddr()
	var err error
	s.server, err = process.Start(process.Command{
		Path: filepath.Join(bin, "logd"), Dir: dir,
		Args: []string{"--config", os.DevNull, "--workdir", filepath.Join(dir, "data"), "--host", s.addr, "--http-host", ""},
	})
	if err != nil {
		return nil, err
	}
	err = s.server.Await(ctx, func(ctx context.Context) error {
		s.client, err = logd.Dial(ctx, logd.ClientConfig{Addrs: []string{s.addr}, ReconnectAttempts: 1})
		return err
	})
	if err != nil {
		s.server.Kill()
		return nil, err
	}
	return s, nil
}

func (s *scene) end() {
	s.client.Close()
	s.server.Stop(10 * time.Second)
}

// prepare writes the files.
func (s *scene) prepare() error {
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return err
	}
	part := ""
	for _, path := range []string{s.file, "0", "1", "2", "3", "4", "5", "6", "7"} {
		n := s.lines
		if path != s.file {
			part, n = path, s.lines/8
			path = filepath.Join(filepath.Dir(s.file), "part-"+part+".log")
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		block := someLines(2000)
		for ; n > 0 && err == nil; n -= 2000 {
			_, err = f.Write(block[:min(n, 2000)*lineLen])
		}
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// someLines returns lines that differ and look like text, the same in every run.
func someLines(n int) []byte {
	r := rand.New(rand.NewPCG(1774, 200))
	b := make([]byte, 0, n*lineLen)
	for range n {
		for range lineLen - 1 {
			b = append(b, "etaoinshrdlu 0123456789="[r.IntN(24)])
		}
		b = append(b, '\n')
	}
	return b
}

// freeAddr returns an address that nobody listens at.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// measure runs a load, into a topic of its own, and frees what it has written.
func (s *scene) measure(ctx context.Context, l load) (result, error) {
	s.runs++
	r, err := l.run(ctx, s)
	os.RemoveAll(s.state())
	os.RemoveAll(filepath.Join(s.dir, "rsyslog"))
	if out, delErr := s.command(ctx, "log-cli", "delete", s.topic(), "--host", s.addr, "--yes").CombinedOutput(); err == nil && delErr != nil && s.count(ctx) > 0 {
		err = fmt.Errorf("delete the topic: %w\n%s", delErr, bytes.TrimSpace(out))
	}
	return r, err
}

func (s *scene) topic() string { return fmt.Sprint("t", s.runs) }
func (s *scene) state() string { return filepath.Join(s.dir, "state") }

// command is one of the commands, with nothing of this one's environment.
func (s *scene) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	return cmd
}

// finish runs a command to its end.
func (s *scene) finish(ctx context.Context, name string, args ...string) (result, error) {
	cmd := s.command(ctx, name, args...)
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("%w\n%s", err, bytes.TrimSpace(out))
	}
	r := result{s.count(ctx), time.Since(begun).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	if r.lines < s.lines/8*8 {
		return r, fmt.Errorf("%d lines are stored, of %d", r.lines, s.lines)
	}
	return r, nil
}

func write(ctx context.Context, s *scene) (result, error) {
	return s.finish(ctx, "log-cli", "write", "--host", s.addr, "--topic", s.topic(), "--input", s.file)
}

func (s *scene) once(ctx context.Context, args ...string) (result, error) {
	return s.finish(ctx, "log-forwarder", append(s.flags(), append([]string{"--once"}, args...)...)...)
}

func (s *scene) flags() []string {
	return []string{"--config", os.DevNull, "--host", s.addr, "--topic", s.topic(), "--state-dir", s.state(), "--http-host", ""}
}

// count returns how many messages of this run's topic are stored.
func (s *scene) count(ctx context.Context) int64 {
	info, err := s.client.Info(ctx, s.topic())
	if err != nil {
		return 0
	}
	return info.Messages
}

// sender sends lines, and returns how many.
type sender func(conn net.Conn, lines int64) error

// send starts an agent with an input, and measures from the first byte that is sent until
// all is stored.
func (s *scene) send(ctx context.Context, from string, send sender) (result, error) {
	network, addr := "unix", filepath.Join(s.dir, "in", "socket")
	switch from {
	case "syslog+tcp://":
		network, addr = "tcp", freeAddr()
	case "syslog+unixgram:":
		network = "unixgram"
	}
	p, err := process.Start(process.Command{
		Path: filepath.Join(s.bin, "log-forwarder"), Args: append(s.flags(), from+addr), Dir: s.dir,
	})
	if err != nil {
		return result{}, err
	}
	defer p.Kill()
	var conn net.Conn
	err = p.Await(ctx, func(context.Context) (err error) {
		conn, err = net.Dial(network, addr)
		return err
	})
	if err != nil {
		return result{}, err
	}
	defer conn.Close()
	return s.sent(ctx, p, conn, send, func() (int64, error) { return s.count(ctx), nil })
}

// sent sends all lines, and waits until as many have come.
func (s *scene) sent(ctx context.Context, p *process.Process, conn net.Conn, send sender, came func() (int64, error)) (result, error) {
	before, err := p.Usage()
	if err != nil {
		return result{}, err
	}
	begun := time.Now()
	if err := send(conn, s.lines); err != nil {
		return result{}, err
	}
	r := result{lines: s.lines}
	for last, since := int64(0), time.Now(); ; time.Sleep(5 * time.Millisecond) {
		n, err := came()
		if err != nil || ctx.Err() != nil {
			return r, errors.Join(err, ctx.Err())
		}
		if n >= s.lines {
			break
		}
		if n > last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 15*time.Second {
			return r, fmt.Errorf("%d lines came of %d, and no more do", n, s.lines)
		}
	}
	r.seconds = time.Since(begun).Seconds()
	after, err := p.Usage()
	r.cpu = after.CPUSeconds - before.CPUSeconds
	return r, errors.Join(err, p.Stop(20*time.Second))
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"github.com/logd-dev/logd/bench/internal/process"
)

// rsyslog starts rsyslogd with a configuration, which may name its folder by DIR.
func (s *scene) rsyslog(conf string) (*process.Process, string, error) {
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/rsyslogd"); err != nil {
			return nil, "", err
		}
	}
	dir := filepath.Join(s.dir, "rsyslog")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	conf = "global(workDirectory=\"DIR\" maxMessageSize=\"64k\")\n" + conf
	file := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(file, bytes.ReplaceAll([]byte(conf), []byte("DIR"), []byte(dir)), 0o600); err != nil {
		return nil, "", err
	}
	p, err := process.Start(process.Command{Path: path, Args: []string{"-n", "-f", file, "-i", filepath.Join(dir, "pid")}, Dir: dir})
	return p, dir, err
}

// rsyslogFile has rsyslog read the file and send it on, to where the lines are counted.
func rsyslogFile(ctx context.Context, s *scene) (result, error) {
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return result{}, err
	}
	defer sink.Close()
	var lines atomic.Int64
	go func() {
		for {
			conn, err := sink.Accept()
			if err != nil {
				return
			}
			for b := make([]byte, 1<<20); err == nil; {
				var n int
				n, err = conn.Read(b)
				lines.Add(int64(bytes.Count(b[:n], []byte("\n"))))
			}
			conn.Close()
		}
	}()
	addr := sink.Addr().(*net.TCPAddr)
	p, _, err := s.rsyslog(fmt.Sprintf(`module(load="imfile")
template(name="line" type="string" string="%%msg%%\n")
input(type="imfile" file=%q tag="t" ruleset="out")
ruleset(name="out") {
  action(type="omfwd" target="127.0.0.1" port="%d" protocol="tcp" template="line" action.resumeRetryCount="-1"
         queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="1024" queue.timeoutEnqueue="600000")
}
`, s.file, addr.Port))
	if err != nil {
		return result{}, err
	}
	defer p.Kill()
	nothing := func(net.Conn, int64) error { return nil }
	return s.sent(ctx, p, nil, nothing, func() (int64, error) { return lines.Load(), nil })
}

// rsyslogTCP has rsyslog write to a file what comes by TCP.
func rsyslogTCP(ctx context.Context, s *scene) (result, error) {
	addr := freeAddr()
	_, port, _ := net.SplitHostPort(addr)
	p, dir, err := s.rsyslog(fmt.Sprintf(`module(load="imtcp")
template(name="line" type="string" string="%%rawmsg%%\n")
input(type="imtcp" address="127.0.0.1" port=%q ruleset="out")
ruleset(name="out" queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="1024" queue.timeoutEnqueue="600000") {
  action(type="omfile" file="DIR/out.log" template="line" ioBufferSize="64k" flushOnTXEnd="off" asyncWriting="on" flushInterval="1")
}
`, port))
	if err != nil {
		return result{}, err
	}
	defer p.Kill()
	var conn net.Conn
	err = p.Await(ctx, func(context.Context) (err error) {
		conn, err = net.Dial("tcp", addr)
		return err
	})
	if err != nil {
		return result{}, err
	}
	defer conn.Close()
	return s.sent(ctx, p, conn, sendSyslog, func() (int64, error) {
		st, err := os.Stat(filepath.Join(dir, "out.log"))
		if os.IsNotExist(err) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		// The raw message has neither its count of octets nor the line end that it is given.
		return st.Size() / (lineLen + 1), nil
	})
}

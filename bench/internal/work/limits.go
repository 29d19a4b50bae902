package work

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/bench/internal/report"
)

// Machine is what tables call the machine in the place of a system.
const Machine = "machine"

// Limits describes the limits of the machine.
var Limits = report.Work{
	Name: "LIM", Title: "the machine's limits",
	What: "What this machine does without any server, measured in the same rounds: no figure of a server can be better than the limits that it is made of.",
}

// chunk is how much is moved at once.
const chunk = 64 << 10

// limit is one of the machine's limits.
type limit struct {
	name    string
	measure func(ctx context.Context, dir string) (report.Values, error)
}

// MeasureLimits measures the machine's limits with files in the folder dir,
// which it leaves there.
func (s *Sizes) MeasureLimits(ctx context.Context, dir string, record func(name string, v report.Values)) error {
	for _, l := range []limit{
		{"append 64 KiB to a file, without sync", s.appendLimit},
		{"append 150 B and fdatasync", s.syncLimit},
		{"loopback TCP, 64 KiB writes", s.loopbackLimit},
		{"loopback TCP, 1 B there and back", s.roundTripLimit},
		{"sendfile of a cached file over loopback TCP", s.sendfileLimit},
		{"CRC-32 (IEEE), one core", s.crcLimit},
	} {
		v, err := l.measure(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		record(l.name, v)
		if err := Settle(dir); err != nil {
			return err
		}
	}
	return nil
}

// data returns n bytes of the text that bodies are made of.
func data(n int) []byte { return []byte(text()[:n]) }

func (s *Sizes) appendLimit(ctx context.Context, dir string) (report.Values, error) {
	f, err := os.Create(filepath.Join(dir, "append"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := data(chunk)
	began := time.Now()
	for n := int64(0); n < s.LimitBytes && ctx.Err() == nil; n += chunk {
		if _, err := f.Write(buf); err != nil {
			return nil, err
		}
	}
	return rate(s.LimitBytes, began), context.Cause(ctx)
}

// syncLimit appends and syncs for as long as other phases take.
func (s *Sizes) syncLimit(ctx context.Context, dir string) (report.Values, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := data(150)
	return s.operations(ctx, func() error {
		if _, err := f.Write(buf); err != nil {
			return err
		}
		return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd())))
	})
}

// operations does f again and again and returns how often and how long each
// took.
func (s *Sizes) operations(ctx context.Context, f func() error) (report.Values, error) {
	latency := newLatencies(1)
	began := time.Now()
	n := 0
	for now := began; now.Sub(began) < s.Duration && ctx.Err() == nil; n++ {
		if err := f(); err != nil {
			return nil, err
		}
		then := now
		now = time.Now()
		record(latency[0], now.Sub(then))
	}
	v := report.Values{report.Operations: float64(n) / time.Since(began).Seconds()}
	latency.addTo(v)
	return v, context.Cause(ctx)
}

func (s *Sizes) loopbackLimit(ctx context.Context, _ string) (report.Values, error) {
	return transfer(ctx, s.LimitBytes, func(nc *net.TCPConn) error {
		buf := data(chunk)
		for n := int64(0); n < s.LimitBytes; n += chunk {
			if _, err := nc.Write(buf); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Sizes) sendfileLimit(ctx context.Context, dir string) (report.Values, error) {
	f, err := os.Create(filepath.Join(dir, "sendfile"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const length = 64 << 20
	for range length / (4 << 20) {
		if _, err := f.WriteString(text()[:4<<20]); err != nil {
			return nil, err
		}
	}
	return transfer(ctx, s.LimitBytes, func(nc *net.TCPConn) error {
		raw, err := nc.SyscallConn()
		if err != nil {
			return err
		}
		for n := int64(0); n < s.LimitBytes; {
			var sent int
			var failed error
			position := n % length
			err := raw.Write(func(fd uintptr) bool {
				sent, failed = unix.Sendfile(int(fd), int(f.Fd()), &position, int(min(1<<20, s.LimitBytes-n, length-n%length)))
				return !errors.Is(failed, unix.EAGAIN)
			})
			if err = errors.Join(err, failed); err != nil {
				return err
			}
			n += int64(sent)
		}
		return nil
	})
}

func (s *Sizes) roundTripLimit(ctx context.Context, _ string) (v report.Values, err error) {
	err = loopback(ctx, func(nc *net.TCPConn) error {
		buf := make([]byte, 1)
		v, err = s.operations(ctx, func() error {
			if _, err := nc.Write(buf); err != nil {
				return err
			}
			_, err := io.ReadFull(nc, buf)
			return err
		})
		return err
	}, func(nc *net.TCPConn) error {
		buf := make([]byte, 1)
		for {
			if _, err := io.ReadFull(nc, buf); err != nil {
				return ignoreEOF(err)
			}
			if _, err := nc.Write(buf); err != nil {
				return err
			}
		}
	})
	return v, err
}

func (s *Sizes) crcLimit(ctx context.Context, _ string) (report.Values, error) {
	buf := data(chunk)
	var sum uint32
	began := time.Now()
	for n := int64(0); n < s.LimitBytes && ctx.Err() == nil; n += chunk {
		sum ^= crc32.ChecksumIEEE(buf)
	}
	v := rate(s.LimitBytes, began)
	runtime.KeepAlive(sum)
	return v, context.Cause(ctx)
}

func rate(bytes int64, began time.Time) report.Values {
	return report.Values{report.Bytes: float64(bytes) / 1e6 / time.Since(began).Seconds()}
}

// transfer measures how long it takes until all that send sends has come.
func transfer(ctx context.Context, bytes int64, send func(*net.TCPConn) error) (v report.Values, err error) {
	began := time.Now()
	err = loopback(ctx, send, func(nc *net.TCPConn) error {
		buf := make([]byte, 256<<10)
		var n int64
		for n < bytes {
			k, err := nc.Read(buf)
			if err != nil {
				return err
			}
			n += int64(k)
		}
		v = rate(n, began)
		return nil
	})
	return v, err
}

// loopback connects two functions by TCP and waits for both. Each closes its
// end when it is done. After an error the other one is interrupted instead, so that the
// cause is returned and not what came of it.
func loopback(ctx context.Context, a, b func(*net.TCPConn) error) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		return err
	}
	defer far.Close()
	ends := []net.Conn{near, far}
	return parallel(ctx, 2, func(ctx context.Context, i int) error {
		nc := ends[i].(*net.TCPConn)
		defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
		if err := []func(*net.TCPConn) error{a, b}[i](nc); err != nil {
			return err
		}
		return nc.Close()
	})
}

// ignoreEOF returns nil for the end of a connection.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

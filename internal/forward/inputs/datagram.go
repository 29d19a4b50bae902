package inputs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/socket"
)

// maxDatagram is what is received of a datagram. One over UDP can't be longer.
const maxDatagram = 256 << 10

// datagrams takes datagrams of syslog. A source is the socket.
type datagrams struct {
	in   *Input
	conn socket.PacketConn
	raw  syscall.RawConn
	live feed.Live
	take *syslogTaker

	body, control []byte
	drops         uint32 // of the kernel, that were told

	from   netip.AddrPort // whose text is remote
	remote string
}

func newDatagrams(in *Input) (*datagrams, error) {
	c := in.config.Load()
	d := &datagrams{in: in, body: make([]byte, maxDatagram), control: make([]byte, 128)}
	var err error
	if c.From.Network == "unixgram" {
		d.conn, err = socket.ListenUnixgram(c.From.Addr, c.SocketMode, -1)
	} else {
		var udp net.PacketConn
		if udp, err = net.ListenPacket("udp", c.From.Addr); err == nil {
			d.conn = udp.(socket.PacketConn)
		}
	}
	if err != nil {
		return nil, err
	}
	if d.raw, err = d.conn.SyscallConn(); err == nil {
		err = d.raw.Control(func(fd uintptr) {
			if granted := setReceiveBuffer(int(fd), c.ReceiveBuffer); granted < c.ReceiveBuffer {
				in.log.Warn("the kernel grants less than receive-buffer: net.core.rmem_max is how much it does", "receive_buffer", c.ReceiveBuffer, "granted", granted)
			}
			countDrops(int(fd))
		})
	}
	if err != nil {
		d.conn.Close()
		return nil, err
	}
	return d, nil
}

// setReceiveBuffer returns how large the buffer is then.
func setReceiveBuffer(fd, size int) (granted int) {
	if forceReceiveBuffer(fd, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
	granted, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return granted / receiveBufferFactor
}

func (d *datagrams) addr() net.Addr { return d.conn.LocalAddr() }

func (d *datagrams) stop() { d.conn.SetReadDeadline(past) }

func (d *datagrams) abort() { d.conn.Close() }

func (d *datagrams) serve() {
	defer d.conn.Close()
	name := d.in.config.Load().From.Addr
	d.live = d.in.sink.Live(d.in.config.Load().Name, name)
	defer d.live.Close()
	d.take = newSyslogTaker(d.in, d.live, "")
	defer d.raw.Control(d.tellDrops)
	var until time.Time // of the reading of what has arrived
	for pause := time.Duration(0); ; {
		err := d.receive()
		switch {
		case err == nil:
			pause = 0
		case errors.Is(err, os.ErrDeadlineExceeded):
			if until.IsZero() {
				until = time.Now().Add(drainMost)
			} else {
				return
			}
		case errors.Is(err, net.ErrClosed), errors.Is(err, feed.ErrClosing), d.in.life.Err() != nil:
			return
		default: // an error of an earlier answer to somebody, or no memory: that passes
			d.in.sparse.Log(d.in.log, slog.LevelError, "receiving datagrams failed: trying again", "error", err)
			pause = min(max(2*pause, time.Millisecond), time.Second)
			time.Sleep(pause)
		}
		if !until.IsZero() {
			if time.Now().After(until) {
				return
			}
			d.conn.SetReadDeadline(time.Now().Add(drainPause))
		}
	}
}

// receive waits for datagrams, and takes and puts those that are there. A panic ends the
// taking of none but those.
func (d *datagrams) receive() (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.in.log.Error("taking datagrams panicked: going on", "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			d.take = newSyslogTaker(d.in, d.live, "")
		}
	}()
	var failed error
	err = d.raw.Read(func(fd uintptr) bool {
		for got := false; ; got = true {
			n, nc, flags, from, err := unix.Recvmsg(int(fd), d.body, d.control, recvFlags)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				if !got {
					d.tellDrops(fd)
				}
				return got
			case err != nil:
				failed = os.NewSyscallError("recvmsg", err)
				return true
			}
			if drops, ok := parseDrops(d.control[:nc]); ok {
				d.dropped(drops)
			}
			if failed = d.datagram(n, flags, from); failed != nil || d.take.len() == 0 || len(d.take.c.data) > maxCollect/2 {
				return true
			}
		}
	})
	if failed == nil {
		failed = d.take.put()
	}
	return cmp.Or(err, failed)
}

// datagram takes a datagram of n bytes.
func (d *datagrams) datagram(n, flags int, from unix.Sockaddr) error {
	if n == 0 {
		return nil
	}
	d.take.framer.set(d.in.config.Load().lines())
	if n > len(d.body) || flags&unix.MSG_TRUNC != 0 {
		d.take.tooLong(0, int64(max(n-len(d.body), 0)), lines.Truncate)
		n = min(n, len(d.body))
	}
	return d.take.datagram(d.body[:n], d.remoteOf(from))
}

// remoteOf returns the text of an address. Mostly it is that of the last one.
func (d *datagrams) remoteOf(from unix.Sockaddr) string {
	var addr netip.AddrPort
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		addr = netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(from.Addr).Unmap()
		if from.ZoneId != 0 {
			ip = ip.WithZone(strconv.Itoa(int(from.ZoneId)))
		}
		addr = netip.AddrPortFrom(ip, uint16(from.Port))
	default:
		return ""
	}
	if addr != d.from {
		d.from, d.remote = addr, addr.String()
	}
	return d.remote
}

// tellDrops asks the kernel what it has dropped: of datagrams at the end of a flood no
// later one tells.
func (d *datagrams) tellDrops(fd uintptr) {
	if drops, ok := askDrops(int(fd)); ok {
		d.dropped(drops)
	}
}

// dropped tells of datagrams that the kernel has dropped, by its count of all.
func (d *datagrams) dropped(drops uint32) {
	more := int32(drops - d.drops)
	if more <= 0 { // it came with a datagram from before what was asked for
		return
	}
	d.drops = drops
	d.live.Hole(feed.Hole{Kind: feed.KernelDropped, Messages: int64(more), Cause: "the receive buffer of the socket was full"})
}

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// authenticate shows a new connection's server who the client is. A server that has no
// identities does not want to know: then the connection goes on without, so that
// clients can have their tokens before servers ask for them.
func (l *Link) authenticate(ctx context.Context, nc net.Conn, addr string) error {
	if !l.opts.AllowPlainToken && !secret(nc, addr) {
		return ErrPlainToken
	}
	token, err := l.opts.Token(ctx)
	if err != nil {
		return fmt.Errorf("no token: %w", err)
	}
	if len(token) == 0 || len(token) > protocol.MaxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("no token: it is not a word of 1 to %d bytes", protocol.MaxToken)
	}
	var answer string
	err = bounded(ctx, nc, func() (err error) {
		answer, err = exchangeToken(nc, token)
		return err
	})
	if err != nil {
		return err
	}
	reason, refused := strings.CutPrefix(answer, "ERR ")
	if !refused {
		if answer != "OK" {
			return fmt.Errorf("%w: AUTH was answered %.40q", ErrBadAnswer, answer)
		}
		return nil
	}
	perr, known := protocol.ErrorFor(reason)
	switch {
	case perr == protocol.ErrUnauthorized:
		return fmt.Errorf("the token is not accepted: %w", perr)
	case perr == protocol.ErrInvalidRequest:
		l.opts.Logger.Warn("the server has no identities: the token is not needed", slog.String("remote", nc.RemoteAddr().String()))
		return nil
	case !known:
		return l.opts.OtherReply(reason)
	}
	return perr
}

// exchangeToken sends AUTH, and returns the line of the answer.
func exchangeToken(nc net.Conn, token string) (answer string, err error) {
	line := protocol.AppendRequest(nil, &protocol.Request{Command: protocol.Auth, Token: []byte(token)})
	_, err = nc.Write(line)
	clear(line)
	if err != nil {
		return "", err
	}
	return readAnswer(nc)
}

// bounded runs f, which uses a new connection, until ctx is done.
func bounded(ctx context.Context, nc net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(aLongTimeAgo) })
	err := f()
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is set, or will be
	}
	return err
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// maxAnswer is the length of the longest answer to AUTH.
const maxAnswer = 512

// readAnswer reads the answer to AUTH and nothing behind it.
func readAnswer(nc net.Conn) (string, error) {
	var b [maxAnswer]byte
	for n := range b {
		if _, err := io.ReadFull(nc, b[n:n+1]); err != nil {
			if errors.Is(err, io.EOF) {
				err = ErrConnectionLost
			}
			return "", err
		}
		if b[n] == '\n' {
			return strings.TrimSuffix(string(b[:n]), "\r"), nil
		}
	}
	return "", fmt.Errorf("%w: AUTH was answered %.40q", ErrBadAnswer, b[:])
}

// secret reports whether what is sent over a connection to an address is seen by nobody
// else: it is TLS, or stays on this machine. A proxy on this machine may pass it on to
// another one, so both have to be here.
func secret(nc net.Conn, addr string) bool {
	if _, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return true
	}
	switch a := nc.RemoteAddr().(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		host, _, _ := net.SplitHostPort(addr)
		return a.IP.IsLoopback() && (host == "localhost" || net.ParseIP(host).IsLoopback())
	}
	return false
}

// hopeless reports whether trying again changes nothing: a server wants another token, or
// TLS.
func hopeless(err error) bool {
	return errors.Is(err, protocol.ErrUnauthorized) || errors.Is(err, ErrPlainToken) || errors.Is(err, protocol.ErrTLSRequired)
}

package logd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// DefaultAddr is where a server listens, and a Client connects to, unless told
// otherwise.
const DefaultAddr = protocol.DefaultAddr

// DefaultMaxBatchSize is the length of the largest batch, envelope and data,
// that a server takes unless told otherwise.
const DefaultMaxBatchSize = protocol.DefaultMaxBatchSize

// Unlimited is no limit, in every field of a configuration whose documentation names
// it. A field that is 0 has its documented default, and a value that is neither
// these nor in the documented range is refused.
const Unlimited = -1

// ClientConfig says how a Client connects and how long it is patient. The zero
// value of every field is its documented default.
type ClientConfig struct {
	// Addrs are the servers' addresses, HOST:PORT, or unix:PATH for a unix socket of this
	// machine. The Client stays with one for as long as it can be reached, then takes the
	// next in turn. Of a cluster they are where to begin: see [Client]. Default:
	// DefaultAddr alone.
	Addrs []string

	// TLS has the Client speak TLS, but not over a unix socket. It is cloned. If
	// ServerName is empty the server's certificate must be for the host of its address;
	// if NextProtos is, the protocol is called logd. Default: no TLS. Errors are those of
	// crypto/tls and crypto/x509, and ErrConnect.
	TLS *tls.Config

	// Dial opens a connection, over which TLS is spoken if that is set: to a proxy, say,
	// or for a test. It must return when ctx ends. The network is tcp or unix. Default:
	// that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Token returns what each new connection shows to say who the client is: see
	// [StaticToken] and [TokenFile]. It must return when ctx ends. If a server has no
	// identities the connection is used all the same, and the Logger is told. If no
	// server accepts the token, a call fails with ErrUnauthorized at once, and so do a
	// Writer and a Scanner; if the function fails, that is as if the server could not be
	// reached. Default: nothing is shown.
	Token func(ctx context.Context) (string, error)
	// AllowPlainToken lets a token be sent without TLS to another machine, where whoever
	// is on the way reads it. Without it that fails with ErrPlainToken, unless both the
	// address and the connection that Dial makes are of this machine: a unix socket, or
	// loopback.
	AllowPlainToken bool

	// ConnectTimeout bounds one attempt to reach one address. In a cluster it is at most
	// one and a half of its election timeouts, and so is ReadTimeout for what can be asked
	// of another member. Default 5s; Unlimited: no limit.
	ConnectTimeout time.Duration
	// ReadTimeout is how long the server may be silent while an answer is
	// awaited; a waiting read's Wait comes on top. Then the connection is
	// given up. Default 15s; Unlimited: no limit.
	ReadTimeout time.Duration
	// WriteTimeout bounds one write to the connection, of up to a mebibyte of
	// requests or one larger batch. Default 15s; Unlimited: no limit.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may rest and still be used. After
	// that the next call replaces it, because the server may be closing it at
	// that moment. It should be less than the server's own idle timeout, 30s by
	// default. Default 25s; Unlimited: no limit.
	IdleTimeout time.Duration

	// ReconnectMin is about how long the first pause between two rounds of
	// attempts is; each further one is about twice as long, up to ReconnectMax.
	// Every pause is shortened by a random part of up to a half, so that many
	// clients do not come back at once. In a cluster the first pause is 5ms and the
	// longest 500ms, if these are less. Defaults 50ms and 5s.
	ReconnectMin, ReconnectMax time.Duration
	// ReconnectAttempts is how many rounds through Addrs, or the members of a cluster, a
	// call makes before it fails. If none could be reached, the error is ErrConnect.
	// Default 5; Unlimited: until the call's context ends.
	ReconnectAttempts int

	// MaxReplySize bounds one answer, in bytes, so that a server gone wrong
	// cannot fill the memory. Default 256 MiB; Unlimited: no limit.
	MaxReplySize int64

	// MaxUncompressedSize bounds what compressed batches take when they are unpacked: one
	// batch, and all those of one Result, in bytes. A batch that is larger is ErrCorrupt.
	// Default 64 MiB; Unlimited: no limit.
	MaxUncompressedSize int64

	// OnConnect is called after a connection was made, OnDisconnect after it
	// ended, with the reason; calls come one after another, in order. They
	// must not block, nor call the Client. The connections of Scanners that
	// follow, a second one for reads, and those of reads that wait count as well.
	OnConnect    func(addr string)
	OnDisconnect func(addr string, reason error)

	// OnConnectFailed is called after no address could be reached, with why and
	// how long the Client then waits before it tries again, if it does. What is
	// said of OnConnect holds for it, too.
	OnConnectFailed func(err error, pause time.Duration)

	// Logger gets the connections' comings and goings. Default: none.
	Logger *slog.Logger
}

// Validate returns an error that names the field, its value and the allowed
// range if a Client cannot work with cfg.
func (cfg *ClientConfig) Validate() error {
	for i, addr := range cfg.Addrs {
		if path, ok := link.UnixPath(addr); ok && path != "" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("logd: ClientConfig.Addrs[%d] is %q: want HOST:PORT or unix:PATH", i, addr)
		}
		if n, err := net.LookupPort("tcp", port); err != nil || n < 1 {
			return fmt.Errorf("logd: ClientConfig.Addrs[%d] is %q: want a port of 1 to 65535", i, addr)
		}
	}
	for _, f := range [...]struct {
		name  string
		value time.Duration
	}{{"ReconnectMin", cfg.ReconnectMin}, {"ReconnectMax", cfg.ReconnectMax}} {
		if f.value < 0 {
			return fmt.Errorf("logd: ClientConfig.%s is %v: want 0 (the default) or more", f.name, f.value)
		}
	}
	for _, f := range [...]struct {
		name  string
		value any
		ok    bool
	}{
		{"ConnectTimeout", cfg.ConnectTimeout, cfg.ConnectTimeout >= Unlimited},
		{"ReadTimeout", cfg.ReadTimeout, cfg.ReadTimeout >= Unlimited},
		{"WriteTimeout", cfg.WriteTimeout, cfg.WriteTimeout >= Unlimited},
		{"IdleTimeout", cfg.IdleTimeout, cfg.IdleTimeout >= Unlimited},
		{"ReconnectAttempts", cfg.ReconnectAttempts, cfg.ReconnectAttempts >= Unlimited},
		{"MaxReplySize", cfg.MaxReplySize, cfg.MaxReplySize >= Unlimited},
		{"MaxUncompressedSize", cfg.MaxUncompressedSize, cfg.MaxUncompressedSize >= Unlimited},
	} {
		if !f.ok {
			return fmt.Errorf("logd: ClientConfig.%s is %v: want 0 (the default) or more, or Unlimited (-1)", f.name, f.value)
		}
	}
	full := cfg.withDefaults()
	if full.ReconnectMin > full.ReconnectMax {
		return fmt.Errorf("logd: ClientConfig.ReconnectMin is %v: want at most ReconnectMax, %v", full.ReconnectMin, full.ReconnectMax)
	}
	return nil
}

// withDefaults returns a copy in which no field that has a default is zero.
func (cfg *ClientConfig) withDefaults() ClientConfig {
	c := *cfg
	c.Addrs = slices.Clone(c.Addrs)
	if len(c.Addrs) == 0 {
		c.Addrs = []string{DefaultAddr}
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if len(c.TLS.NextProtos) == 0 {
			c.TLS.NextProtos = []string{protocol.Name}
		}
		c.TLS.DynamicRecordSizingDisabled = true // a batch is of no use before it is whole
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.ReadTimeout, 15*time.Second)
	setDefault(&c.WriteTimeout, 15*time.Second)
	setDefault(&c.IdleTimeout, 25*time.Second)
	setDefault(&c.ReconnectMin, 50*time.Millisecond)
	setDefault(&c.ReconnectMax, 5*time.Second)
	setDefault(&c.ReconnectAttempts, 5)
	setDefault(&c.MaxReplySize, 256<<20)
	if c.MaxReplySize == Unlimited {
		c.MaxReplySize = math.MaxInt64
	}
	setDefault(&c.MaxUncompressedSize, 64<<20)
	if c.MaxUncompressedSize == Unlimited {
		c.MaxUncompressedSize = math.MaxInt
	}
	if c.OnConnect == nil {
		c.OnConnect = func(string) {}
	}
	if c.OnDisconnect == nil {
		c.OnDisconnect = func(string, error) {}
	}
	if c.OnConnectFailed == nil {
		c.OnConnectFailed = func(error, time.Duration) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// options returns the options of the Client's link. All fields of cfg are set.
func (cfg *ClientConfig) options() link.Options {
	return link.Options{
		Addrs: cfg.Addrs, Dial: cfg.Dial, TLS: cfg.TLS, Token: cfg.Token, AllowPlainToken: cfg.AllowPlainToken,
		ConnectTimeout: cfg.ConnectTimeout, ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout, IdleTimeout: cfg.IdleTimeout,
		ReconnectMin: cfg.ReconnectMin, ReconnectMax: cfg.ReconnectMax, ReconnectAttempts: cfg.ReconnectAttempts,
		MaxReplySize: cfg.MaxReplySize,
		OnConnect:    cfg.OnConnect, OnDisconnect: cfg.OnDisconnect, OnConnectFailed: cfg.OnConnectFailed,
		Logger:     cfg.Logger,
		NotLeader:  func(addr string) error { return &NotLeaderError{Addr: addr} },
		Refusal:    refusal,
		OtherReply: func(reason string) error { return &ReplyError{Reason: reason} },
	}
}

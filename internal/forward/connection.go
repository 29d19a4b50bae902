package forward

import (
	"log/slog"
	"sync"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/dial"
	"github.com/logd-dev/logd/internal/forward/settings"
)

// connection is the client, and since when it has none to the server.
type connection struct {
	*logd.Client

	mu        sync.Mutex
	open      int
	away      time.Time
	connected func()
}

// connect makes a client of the settings. It tries once: the lanes try again.
func connect(c *settings.Config, log *slog.Logger) (*connection, error) {
	conn := &connection{away: time.Now()}
	cfg := dial.Config(c, log)
	cfg.ReconnectAttempts, cfg.ReadTimeout, cfg.WriteTimeout = 1, c.Timeout, c.Timeout
	cfg.OnConnect = func(string) {
		conn.mu.Lock()
		conn.open++
		f := conn.connected
		conn.mu.Unlock()
		if f != nil {
			f()
		}
	}
	cfg.OnDisconnect = func(string, error) {
		conn.mu.Lock()
		defer conn.mu.Unlock()
		if conn.open--; conn.open == 0 {
			conn.away = time.Now()
		}
	}
	var err error
	if conn.Client, err = logd.NewClient(cfg); err != nil {
		return nil, exit.With(exit.Config, err)
	}
	return conn, nil
}

// watch has f called after each new connection.
func (c *connection) watch(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = f
}

// since returns since when there is no connection, and whether there is one.
func (c *connection) since() (away time.Time, connected bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away, c.open > 0
}

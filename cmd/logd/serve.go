package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/version"
)

// runningNode is what serve needs of a *node.Node.
type runningNode interface {
	Addr() net.Addr
	HTTPAddr() net.Addr
	Wait() error
	Ping() error
	Reload(load func() (config.Config, error)) error
	Shutdown(context.Context) error
	Close() error
}

// startFunc starts a node; see node.Start.
type startFunc func(context.Context, node.Options) (runningNode, error)

func startNode(ctx context.Context, o node.Options) (runningNode, error) {
	n, err := node.Start(ctx, o)
	if err != nil {
		return nil, err // not a nil *node.Node in an interface
	}
	return n, nil
}

// serve runs the server until a signal or a failure ends it.
func (a *app) serve([]string) (err error) {
	if a.sockets, err = inheritSockets(a.env); err != nil {
		return exit.With(exit.Config, err)
	}
	c, origins, err := a.load(a.ConfigFile)
	if err != nil {
		return err
	}
	if err := node.Check(&c); err != nil {
		return exit.With(exit.Config, err)
	}
	a.StartLog(c.LogFormat == config.FormatJSON, c.LogLevel, a.env)
	stopProfiles, err := a.startProfiles()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfiles()) }()

	signals := a.notify()
	defer signals.LetGo()
	n, stopping, err := a.startNode(signals.Stop, &c, origins)
	if n == nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Wait() }()
	if !stopping {
		a.greet(n, &c, origins)
		a.Tell(a.Manager.Ready(takesRequests))
		b := a.startBeside(n, signals.Reload)
		defer b.wait()
		select {
		case err := <-ended:
			b.end()
			if err != nil {
				err = fmt.Errorf("stopped by a failure: %w", err)
				return explainStart(err, &c, origins)
			}
			return nil
		case s := <-signals.Stop:
			b.end()
			a.Tell(a.Manager.Stopping("shutting down"))
			a.Logger.Info("shutting down", "signal", s.String(), "timeout", c.ShutdownTimeout)
		}
	}
	err = a.shutdown(n, &signals, &c)
	if !errors.Is(err, errHangs) {
		<-ended // what a Shutdown or Close returned, once more
	}
	return err
}

var (
	errSecondSignal = errors.New("a second signal cut the shutdown short: requests in flight were not answered")
	errHangs        = errors.New("the disk does not answer, so the last writes and syncs were not waited for: " +
		"what was acknowledged survives unless the machine fails")
)

// startNode starts the node. A signal meanwhile ends the start: the node is
// then nil, or, if it started all the same, stopping is true.
func (a *app) startNode(signals <-chan os.Signal, c *config.Config, o config.Origins) (n runningNode, stopping bool, err error) {
	type result struct {
		node runningNode
		err  error
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan result, 1)
	go func() {
		n, err := a.start(ctx, node.Options{
			Config: *c, Version: version.String(), Logger: a.Logger, LogLevel: &a.Level, Recovering: a.recovering(),
			Inherited: a.sockets.Inherited,
		})
		started <- result{n, err}
	}()
	var r result
	select {
	case r = <-started:
	case s := <-signals:
		a.Logger.Info("stopping before requests are taken", "signal", s.String())
		stopping = true
		cancel()
		select {
		case r = <-started:
		case <-signals:
			return nil, true, errSecondSignal // the start goes down with the process
		case <-time.After(c.ShutdownTimeout + lastTime):
			return nil, true, fmt.Errorf("stop the start: %w", errHangs)
		}
	}
	if r.err != nil {
		if stopping && errors.Is(r.err, context.Canceled) {
			return nil, true, nil
		}
		return nil, stopping, explainStart(r.err, c, o)
	}
	return r.node, stopping, nil
}

// reload has the node read its settings again, and logs each thing that is wrong with
// them.
func (a *app) reload(n runningNode) {
	err := n.Reload(func() (config.Config, error) {
		c, _, err := a.load(a.ConfigFile)
		return c, err
	})
	if err != nil {
		a.NotReloaded(err)
	}
}

// lastTime is how long the disk has for what is to be written and synced last
// when a shutdown is cut short, by the timeout or a second signal.
const lastTime = time.Second

// shutdown shuts the node down, at once if there is another signal. The error is
// errHangs if it is left behind because its disk hangs.
func (a *app) shutdown(n runningNode, signals *cmdline.Signals, c *config.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Shutdown(ctx) }()
	timeout := time.NewTimer(c.ShutdownTimeout + lastTime)
	defer timeout.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("shut down: %w", err)
		}
		a.Logger.Info("stopped")
		return nil
	case <-timeout.C:
		return fmt.Errorf("shut down: %w", errHangs)
	case s := <-signals.Stop:
		// One more must not wait for anything.
		signals.LetGo()
		a.Logger.Warn("ending at once", "signal", s.String())
		closed := make(chan error, 1)
		go func() { closed <- n.Close() }()
		select {
		case err := <-closed:
			return errors.Join(errSecondSignal, err)
		case <-time.After(lastTime):
			return fmt.Errorf("%w; %w", errSecondSignal, errHangs)
		}
	}
}

// greet says that the node takes requests, where, and what it promises.
func (a *app) greet(n runningNode, c *config.Config, o config.Origins) {
	http := "off"
	if addr := n.HTTPAddr(); addr != nil {
		http = addr.String()
	}
	file := o.File()
	if file == "" {
		file = "none"
	}
	a.Logger.Info("logd takes requests", "version", version.String(), "addr", n.Addr().String(), "http", http,
		"workdir", absolute(c.WorkDir), "config", file)
	if c.Node != "" {
		a.Logger.Info(c.Durability(), "node", c.Node)
	} else {
		a.Logger.Info(c.Durability(), "flush-batches", c.FlushBatches, "flush-interval", c.FlushInterval)
	}
	if w := a.person(c); w != nil {
		io.WriteString(w, tryIt(n.Addr(), c, sourceTree(".")))
	}
}

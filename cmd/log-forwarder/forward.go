package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/version"
)

// agent is what forward needs of the agent. What Run and the start return says with which
// code the command ends, see package exit.
type agent interface {
	// Run runs until ctx ends, all that is read is at its end, or a failure, and then stops
	// in order. It is called once.
	Run(ctx context.Context) error
	// Ready returns a channel that is closed when inputs are open and all was looked at once.
	Ready() <-chan struct{}
	// Stuck returns an error that names a loop that stands, or nil.
	Stuck() error
	// Reload has the agent go on with other settings, all or none of them.
	Reload(*settings.Config) error
	// ReloadFailed tells that a reload was refused before it came to that.
	ReloadFailed()
}

// startFunc opens an agent: its state folder and its inputs.
type startFunc func(c *settings.Config, once bool, logger *slog.Logger) (agent, error)

var errSecondSignal = errors.New("a second signal cut the stop short: what waits in memory is lost, and senders were not told what is safe")

// forward runs the agent until a signal, a failure or the end of what is read ends it.
func (a *app) forward(inputs []string) error {
	c, err := a.load(a.ConfigFile, inputs)
	if err != nil {
		return err
	}
	if err := forward.Check(c); err != nil {
		return exit.With(exit.Config, err)
	}
	if a.start == nil {
		return errors.New("this build has no agent")
	}
	a.StartLog(c.LogFormat == "json", c.LogLevel, a.sources.Env)
	signals := a.notify()
	defer signals.LetGo()
	ag, err := a.start(c, a.once, a.Logger)
	if err != nil {
		return err
	}
	return a.attend(ag, c, inputs, &signals)
}

// attend runs the agent, and does what signals ask for.
func (a *app) attend(ag agent, c *settings.Config, inputs []string, signals *cmdline.Signals) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- ag.Run(ctx) }()
	ready := ag.Ready()
	var watchdog <-chan time.Time
	stopping := false
	for {
		select {
		case err := <-ended:
			if err == nil {
				a.Logger.Info("stopped")
			}
			return err
		case <-ready:
			ready = nil
			a.greet(c)
			a.Tell(a.Manager.Ready(forwards))
			if every := a.Manager.Watchdog(); every > 0 {
				ticker := time.NewTicker(every)
				defer ticker.Stop()
				watchdog = ticker.C
				a.alive(ag)
			}
		case <-watchdog:
			a.alive(ag)
		case <-signals.Reload:
			if stopping {
				continue
			}
			a.Tell(a.Manager.Reloading())
			c = a.reload(ag, c, inputs)
			a.Tell(a.Manager.Ready(forwards))
		case s := <-signals.Stop:
			if stopping {
				signals.LetGo() // one more must not wait for anything
				return errSecondSignal
			}
			stopping = true
			a.Tell(a.Manager.Stopping("delivering what waits"))
			a.Logger.Info("stopping", "signal", s.String(), "timeout", c.ShutdownTimeout)
			stop()
		}
	}
}

// forwards is what the service manager is told of an agent that is ready.
const forwards = "takes messages"

// greet says what runs here.
func (a *app) greet(c *settings.Config) {
	file, state, http := c.File(), c.StateDir, c.HTTPHost
	for _, s := range []*string{&file, &state, &http} {
		if *s == "" {
			*s = "none"
		}
	}
	a.Logger.Info("log-forwarder takes messages", "version", version.String(), "host", strings.Join(c.Host, ","), "inputs", len(c.Inputs),
		"state-dir", state, "config", file, "pid", os.Getpid())
}

// alive tells the service manager that the agent works, if it does.
func (a *app) alive(ag agent) {
	if err := ag.Stuck(); err != nil {
		a.Logger.Error("the watchdog is not told that all is well", "err", err)
		return
	}
	a.Tell(a.Manager.Alive())
}

// reload has the agent go on with what the settings say now, and returns what is in force.
func (a *app) reload(ag agent, old *settings.Config, inputs []string) *settings.Config {
	c, err := a.load(a.ConfigFile, inputs)
	var changed, heldBack []settings.Setting
	var merged *settings.Config
	if err == nil {
		merged, changed, heldBack, err = settings.Reload(old, c)
	}
	if err == nil {
		err = ag.Reload(merged)
	} else {
		ag.ReloadFailed()
	}
	if err != nil {
		a.NotReloaded(err)
		return old
	}
	a.Level.Set(merged.LogLevel)
	for _, s := range heldBack {
		a.Logger.Warn("a change needs a restart", "setting", s.Name, "is", s.Value(merged), "was set to", s.Value(c))
	}
	for _, s := range changed {
		a.Logger.Info("a setting has changed", "setting", s.Name, "from", s.Value(old), "to", s.Value(merged))
	}
	a.Logger.Info("reloaded", "inputs", len(merged.Inputs))
	return merged
}

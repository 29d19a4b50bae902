package forward

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/forward/deliver"
	"github.com/logd-dev/logd/internal/forward/files"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/journal"
	"github.com/logd-dev/logd/internal/forward/settings"
)

// ReloadFailed tells that settings were refused before Reload was called.
func (a *Agent) ReloadFailed() { a.reloadFailed.Store(true) }

// Reload puts other settings in force, which settings.Reload has merged with those before.
// If there is a problem, all is as before.
func (a *Agent) Reload(c *settings.Config) error {
	err := a.reload(c)
	a.reloadFailed.Store(err != nil)
	return err
}

func (a *Agent) reload(c *settings.Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	// What can fail comes first.
	if err := Check(c); err != nil {
		return err
	}
	ofFiles := a.fileInputs(c)
	for _, f := range ofFiles {
		if err := files.Check(f); err != nil {
			return err
		}
	}
	client := a.client
	if !slices.Equal(a.settings.Host, c.Host) {
		var err error
		if client, err = connect(c, a.log); err != nil {
			return err
		}
		client.watch(a.delivery.Connected)
	}
	changes, err := a.exchange(c)
	if err == nil {
		err = a.files.Reload(ofFiles)
	}
	if err != nil {
		if client != a.client {
			client.Close()
		}
		return errors.Join(err, a.takeBack(changes))
	}
	if client != a.client {
		a.client = client
		a.delivery.SetClient(client.Client)
	}
	for name, t := range a.running {
		if in := named(c, name); in == nil || in.From.Kind == inputs.File { // it is drained
			delete(a.running, name)
			changes = append(changes, change{name: name, before: t})
		}
	}
	for _, x := range changes {
		if x.before != x.after && x.before != nil && !x.stopped {
			a.draining.Go(func() { a.stop(x.before, c.ShutdownTimeout) })
		}
	}
	a.delivery.SetBounds(deliver.Bounds{
		Memory: c.Memory, SpoolBytes: c.SpoolBytes, LedgerBytes: c.LedgerBytes, DeadBytes: c.DeadBytes, MaxTopics: c.MaxTopics,
	})
	a.settings = c
	return nil
}

// change is what a reload has done with an input that is not of files: another one runs in
// its place, or the same one by other settings.
type change struct {
	name          string
	before, after taker // nil if there was none, or is none
	stopped       bool  // the one before had to end first, for it has the address
}

// exchange has the inputs that are not of files run by other settings. With an error it
// returns what it has done so far.
func (a *Agent) exchange(c *settings.Config) (done []change, err error) {
	for i := range c.Inputs {
		in := &c.Inputs[i]
		was := named(a.settings, in.Name)
		a.delivery.SetInput(deliverInput(in))
		// A certificate may have been renewed in its file.
		if in.From.Kind == inputs.File || was != nil && was.Same(in) && in.TLSCert == "" {
			continue
		}
		x := change{name: in.Name, before: a.running[in.Name]}
		if x.before != nil && a.update(x.before, c, in) == nil {
			x.after = x.before
			done = append(done, x)
			continue
		}
		if x.before != nil && was.From == in.From {
			a.stop(x.before, c.ShutdownTimeout)
			x.stopped = true
		}
		delete(a.running, in.Name)
		err = a.start(c, in)
		x.after = a.running[in.Name]
		if done = append(done, x); err != nil {
			return done, err
		}
	}
	return done, nil
}

// takeBack has the inputs run as they did before the changes.
func (a *Agent) takeBack(changes []change) (err error) {
	for i := range a.settings.Inputs {
		a.delivery.SetInput(deliverInput(&a.settings.Inputs[i]))
	}
	for _, x := range changes {
		was := named(a.settings, x.name)
		if x.after == x.before && x.before != nil {
			err = errors.Join(err, a.update(x.before, a.settings, was))
			continue
		}
		if x.after != nil {
			a.stop(x.after, a.settings.ShutdownTimeout)
		}
		delete(a.running, x.name)
		switch {
		case x.stopped:
			err = errors.Join(err, a.start(a.settings, was))
		case x.before != nil:
			a.running[x.name] = x.before
		}
	}
	return err
}

// stop ends an input, and has what has arrived be put.
func (a *Agent) stop(t taker, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := t.Stop(ctx); err != nil {
		a.log.Warn("an input was cut off: senders were not told of all that arrived last", "err", err)
	}
}

// update has an input that runs go on with other settings, if they allow that.
func (a *Agent) update(t taker, c *settings.Config, in *settings.Input) error {
	switch t := t.(type) {
	case *inputs.Input:
		l, err := a.liveConfig(c, in)
		if err != nil {
			return err
		}
		return t.Update(l)
	case *journal.Input:
		if in.From.Kind != inputs.Journal {
			return errors.New("it is of another kind now")
		}
		return t.Update(a.journalConfig(in))
	}
	return errors.ErrUnsupported
}

// named returns the input of a name, nil if there is none.
func named(c *settings.Config, name string) *settings.Input {
	i := slices.IndexFunc(c.Inputs, func(in settings.Input) bool { return in.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Inputs[i]
}

// Package forward is the agent: it puts together what takes messages, in packages files,
// inputs and journal, what delivers them, in package deliver, and what tells how it goes,
// in package status. docs/forwarder.md says what it promises.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/deliver"
	"github.com/logd-dev/logd/internal/forward/dial"
	"github.com/logd-dev/logd/internal/forward/files"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/journal"
	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/forward/status"
	"github.com/logd-dev/logd/internal/tlsconf"
	"github.com/logd-dev/logd/internal/vfs"
)

// Options are what an Agent is made of.
type Options struct {
	Settings *settings.Config
	Logger   *slog.Logger
	Version  string
	// Once has what can be read be read to its present end, and then Run return.
	Once bool
	// Stdin is standard input, os.Stdin if nil.
	Stdin *os.File
}

// Agent takes messages and delivers them. Its methods are safe for concurrent use.
type Agent struct {
	o    Options
	log  *slog.Logger
	lock io.Closer // on the state folder, nil if there is none

	delivery *deliver.Delivery
	files    *files.Manager // nil if there are no inputs of files, and there never will be
	server   *http.Server
	listener net.Listener // of status, nil if there is none
	client   *connection

	mu       sync.Mutex
	settings *settings.Config
	running  map[string]taker
	counters map[string]*inputs.Counters // of what is in running, and was
	firsts   map[string]bool             // of inputs: see first
	draining sync.WaitGroup

	ready        chan struct{}
	reloadFailed atomic.Bool
}

// taker is an input that is not of files.
type taker interface {
	Done() <-chan struct{}
	Stop(context.Context) error
}

// New opens the state folder and begins to deliver what is in it. Where Run would listen
// for status is bound.
func New(o Options) (*Agent, error) {
	c := o.Settings
	a := &Agent{
		o: o, log: o.Logger, settings: c, running: map[string]taker{}, counters: map[string]*inputs.Counters{},
		firsts: map[string]bool{},
		ready:  make(chan struct{}),
	}
	var fsys vfs.FS
	if c.StateDir != "" {
		var err error
		if fsys, a.lock, err = openState(c.StateDir); err != nil {
			return nil, err
		}
	}
	if err := a.open(fsys); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// openState opens the state folder, which is made if need be, for this process alone.
func openState(dir string) (vfs.FS, io.Closer, error) {
	fsys, err := vfs.OpenOS(dir, 0o700)
	if err != nil {
		return nil, nil, exit.With(exit.Config, fmt.Errorf("state-dir %s: %w", dir, err))
	}
	lock, err := fsys.Lock("LOCK")
	if errors.Is(err, vfs.ErrLocked) {
		return nil, nil, exit.With(exit.Failed, fmt.Errorf("state-dir %s is in use by another agent: end it, or set another state-dir", dir))
	} else if err != nil {
		return nil, nil, exit.With(exit.Config, fmt.Errorf("state-dir %s: %w", dir, err))
	}
	return fsys, lock, nil
}

func (a *Agent) open(fsys vfs.FS) (err error) {
	c := a.settings
	if a.client, err = connect(c, a.log); err != nil {
		return err
	}
	a.delivery, err = deliver.New(deliver.Config{
		Client: a.client.Client, FS: fsys,
		Memory: c.Memory, SpoolBytes: c.SpoolBytes, LedgerBytes: c.LedgerBytes, DeadBytes: c.DeadBytes,
		BatchSize: c.BatchSize, BatchAge: c.BatchAge, InFlight: c.InFlight, NoSequence: !c.Sequence, SpoolSync: c.SpoolSyncInterval,
		MaxTopics: c.MaxTopics, Fallback: c.FallbackTopic, Host: c.Hostname, Logger: a.log,
	})
	if errors.Is(err, segment.ErrNewer) {
		return exit.With(exit.Failed, fmt.Errorf("state-dir %s: %w", c.StateDir, err))
	} else if err != nil {
		return fmt.Errorf("state-dir %s: %w", c.StateDir, err)
	}
	a.client.watch(a.delivery.Connected)
	for i := range c.Inputs {
		a.delivery.SetInput(deliverInput(&c.Inputs[i]))
	}
	if a.files, err = files.New(files.Options{
		Sink: a.delivery, Log: a.log, StateDir: c.StateDir, MaxOpen: c.MaxOpenFiles, UnlinkedMax: c.UnlinkedMax, Once: a.o.Once,
	}, a.fileInputs(c)); err != nil {
		return exit.With(exit.Config, err)
	}
	if c.HTTPHost != "" {
		if a.listener, err = net.Listen("tcp", c.HTTPHost); err != nil {
			return listenError(fmt.Errorf("http-host: %w", err))
		}
		a.server = &http.Server{Handler: status.NewHandler(a), ReadHeaderTimeout: c.Timeout}
		a.log.Info("listening", "from", "http-host", "address", a.listener.Addr().String())
	}
	return nil
}

// listenError gives an error of listening its exit code.
func listenError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return exit.With(exit.Temporary, err)
	}
	return exit.With(exit.Config, err)
}

// Addr returns where status is served, nil if it is not.
func (a *Agent) Addr() net.Addr {
	if a.listener == nil {
		return nil
	}
	return a.listener.Addr()
}

func deliverInput(in *settings.Input) deliver.Input {
	return deliver.Input{Name: in.Name, Topic: in.Topic, Format: in.Format}
}

// first reports whether this run is the first one of an input.
func (a *Agent) first(input string) bool {
	first, known := a.firsts[input]
	if !known {
		first = a.delivery.First(input)
		a.firsts[input] = first
	}
	return first
}

// fileInputs returns the inputs of files.
func (a *Agent) fileInputs(c *settings.Config) (all []files.Config) {
	for i := range c.Inputs {
		in := &c.Inputs[i]
		if in.From.Kind != inputs.File {
			continue
		}
		all = append(all, files.Config{
			Name: in.Name, Glob: in.From.Addr, Exclude: in.Exclude,
			Lines: lines.Settings{Max: int(in.MaxLine), Long: in.LongLines, TrimCR: in.TrimCR},
			AtEnd: in.FromEnd, First: a.first(in.Name), NewCopies: in.CopiesNew,
			ScanInterval: in.ScanInterval, RotatedWait: in.RotatedWait, ForgetAfter: in.ForgetAfter,
		})
	}
	return all
}

// liveConfig returns the settings of an input that listens, or of standard input.
func (a *Agent) liveConfig(c *settings.Config, in *settings.Input) (inputs.Config, error) {
	l := inputs.Config{
		Name: in.Name, From: in.From, Full: in.Full, Topics: in.Topics, MaxLine: int(in.MaxLine), TrimCR: in.TrimCR, LongLines: in.LongLines,
		MaxBody: in.MaxBody, MaxConnections: in.MaxConnections, Timeout: c.Timeout, SocketMode: in.SocketMode,
		ReceiveBuffer: int(in.ReceiveBuffer), Insecure: in.Insecure, Stdin: a.o.Stdin, ClientCA: in.TLSClientCA != "",
	}
	if in.TLSCert != "" {
		var err error
		if l.TLS, err = serverTLS(in); err != nil {
			return l, fmt.Errorf("input %q: %w", in.Name, err)
		}
	}
	return l, nil
}

func (a *Agent) journalConfig(in *settings.Input) journal.Config {
	return journal.Config{Name: in.Name, Units: in.Units, FromEnd: in.FromEnd, Once: a.o.Once, MaxLine: int(in.MaxLine), LongLines: in.LongLines}
}

// Check returns why an agent would not start with these settings, as far as the files tell
// that they name: certificates, keys, and that of the token. The error has a line for each
// problem.
func Check(c *settings.Config) error {
	err := dial.Check(context.Background(), c)
	for i := range c.Inputs {
		if in := &c.Inputs[i]; in.TLSCert != "" {
			if _, bad := serverTLS(in); bad != nil {
				err = errors.Join(err, fmt.Errorf("input %q: %w", in.Name, bad))
			}
		}
	}
	return err
}

func serverTLS(in *settings.Input) (*tls.Config, error) {
	s := tlsconf.NewServer("tls-", "client-ca", "")
	commit, err := s.Prepare(tlsconf.Files{Cert: in.TLSCert, Key: in.TLSKey, ClientCA: in.TLSClientCA})
	if err != nil {
		return nil, err
	}
	commit()
	return s.Config(), nil
}

// start begins an input that is not of files.
func (a *Agent) start(c *settings.Config, in *settings.Input) error {
	if a.counters[in.Name] == nil {
		a.counters[in.Name] = new(inputs.Counters)
	}
	if in.From.Kind == inputs.Journal {
		j, err := journal.Start(a.journalConfig(in), a.delivery, a.counters[in.Name], a.log)
		if err != nil {
			return exit.With(exit.Config, fmt.Errorf("input %q: %w", in.Name, err))
		}
		a.running[in.Name] = j
		return nil
	}
	l, err := a.liveConfig(c, in)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	t, err := inputs.Start(l, a.delivery, a.counters[in.Name], a.log)
	if err != nil {
		return listenError(err)
	}
	a.running[in.Name] = t
	return nil
}

// Ready returns a channel that is closed when the inputs are open and the first look for
// files is done.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run takes and delivers until ctx ends, or there is nothing more to take. Then it takes
// what has arrived, makes it safe, and delivers for as long as shutdown-timeout allows. It
// is called once. Its error has an exit code: see docs/forwarder.md.
func (a *Agent) Run(ctx context.Context) error {
	defer a.close()
	life, end := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer end()
	if a.server != nil {
		group.Go(func() { a.server.Serve(a.listener) })
		defer a.server.Close()
	}
	if err := a.startAll(); err != nil {
		a.stopInputs()
		return errors.Join(err, a.delivery.Close())
	}
	read := make(chan error, 1)
	group.Go(func() { read <- a.files.Run(life) })
	group.Go(func() {
		select {
		case <-a.files.Ready():
			a.delivery.Recover()
			close(a.ready)
		case <-life.Done():
		}
	})
	group.Go(func() { a.watchServer(life) })
	ended := a.ended(life, read, &group)
	var failure error
	once := false
	select {
	case <-ctx.Done():
	case failure = <-a.delivery.Fatal():
	case failure = <-ended:
		once = failure == nil
	}
	a.stopInputs()
	end()
	if failure != nil {
		return errors.Join(exit.With(exit.Failed, failure), a.delivery.Close())
	}
	return a.finish(ctx, once)
}

// lookEvery is how often the server is looked for while there is no connection to it.
const lookEvery = 2 * time.Second

// watchServer keeps a connection to the server, so that it is known whether it is there
// also while there is nothing to send.
func (a *Agent) watchServer(life context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		a.mu.Lock()
		client := a.client
		a.mu.Unlock()
		if _, connected := client.since(); !connected {
			ctx, cancel := context.WithTimeout(life, lookEvery)
			client.Ping(ctx) // what comes of it, the client tells
			cancel()
		}
		select {
		case <-tick.C:
		case <-life.Done():
			return
		}
	}
}

// startAll begins the inputs that are not of files.
func (a *Agent) startAll() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.settings.Inputs {
		if in := &a.settings.Inputs[i]; in.From.Kind != inputs.File {
			if err := a.start(a.settings, in); err != nil {
				return err
			}
		}
	}
	return nil
}

// ended returns a channel on which a value comes when there is nothing more to take: an
// error if the reading of files has failed.
func (a *Agent) ended(life context.Context, read <-chan error, group *sync.WaitGroup) <-chan error {
	c := make(chan error, 1)
	group.Go(func() {
		select {
		case <-a.ready:
		case <-life.Done():
			return
		}
		a.mu.Lock()
		var others []taker
		for _, in := range a.settings.Inputs {
			if in.From.Kind != inputs.File {
				others = append(others, a.running[in.Name])
			}
		}
		files := len(others) < len(a.settings.Inputs)
		a.mu.Unlock()
		if files { // they end by themselves if they are read once
			if err := <-read; err != nil || life.Err() != nil {
				c <- err
				return
			}
		}
		for _, t := range others {
			select {
			case <-t.Done():
			case <-life.Done():
				return
			}
		}
		c <- nil
	})
	return c
}

// stopInputs ends what takes, and has what has arrived be put.
func (a *Agent) stopInputs() {
	a.mu.Lock()
	all, patience := slices.Collect(maps.Values(a.running)), a.settings.ShutdownTimeout
	a.mu.Unlock()
	var group sync.WaitGroup
	for _, t := range all {
		group.Go(func() { a.stop(t, patience) })
	}
	group.Wait()
	a.draining.Wait()
}

// finish delivers what was taken, and returns what is to be said of what is left. Once
// what was to be read is read, it goes on as long as something moves.
func (a *Agent) finish(stop context.Context, once bool) error {
	c := a.config()
	if err := a.delivery.Sync(); err != nil {
		a.log.Error("not all that was taken could be made safe", "err", err)
	}
	left, memory, last := a.delivery.Waiting()
	patience := c.ShutdownTimeout
	if once {
		patience = c.Timeout
	}
	until := time.Now().Add(patience)
	for left > 0 && time.Now().Before(until) {
		time.Sleep(5 * time.Millisecond)
		var now int64
		if left, memory, now = a.delivery.Waiting(); now != last && once {
			last, until = now, time.Now().Add(patience)
		}
		if once && stop.Err() != nil { // a signal ends the patience
			once = false
			until = time.Now().Add(c.ShutdownTimeout)
		}
	}
	if err := a.delivery.Close(); err != nil {
		return exit.With(exit.Failed, fmt.Errorf("state-dir: %w", err))
	}
	switch {
	case memory > 0:
		return exit.With(exit.Failed, fmt.Errorf("%d messages that were taken are lost: the server did not take them", memory))
	case left > 0 && (once || a.o.Once || c.OnlyStdin()):
		return exit.With(exit.Temporary, fmt.Errorf("%d messages are not delivered: the next run with this state-dir goes on", left))
	}
	return nil
}

func (a *Agent) config() *settings.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings
}

// close lets go of what New has opened, but for the delivery.
func (a *Agent) close() {
	if a.server != nil {
		a.server.Close()
	} else if a.listener != nil {
		a.listener.Close()
	}
	if a.delivery != nil {
		a.delivery.Close()
		a.delivery.Client().Close()
	}
	if a.lock != nil {
		a.lock.Close()
	}
}

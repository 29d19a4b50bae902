package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/web"
)

// reload puts other settings in force while the node runs: all of them or none.
type reload struct {
	n      *Node
	config atomic.Pointer[config.Config] // in force

	mu    sync.Mutex // held while settings change
	parts []*part

	ctx context.Context // ends with the node
	end context.CancelFunc

	list atomic.Pointer[[]*part] // parts, for who holds no lock

	succeeded, failed atomic.Int64
	last              atomic.Int64 // when it succeeded last, in milliseconds since 1970
}

// part is a part of a node that makes something of the settings that may fail, as
// reading a file may.
type part struct {
	name string
	// prepare makes ready what the settings say, and changes nothing yet. commit puts it
	// in force; it can't fail, and is not called if another part has failed. The error
	// has a line for each problem. It is called once for the start, too.
	prepare func(c *config.Config) (commit func(), err error)
	// files returns the files that prepare reads: if one of them changes, the part
	// prepares again without being asked to. nil: none.
	files func(c *config.Config) []string

	watched watch
	problem atomic.Pointer[error] // why what it was told last was not taken; nil for nothing
}

// note notes how the part's prepare has ended.
func (p *part) note(err error) {
	if err == nil {
		p.problem.Store(nil)
		return
	}
	p.problem.Store(&err)
}

func (r *reload) init(n *Node) {
	r.n = n
	r.config.Store(&n.o.Config)
	r.last.Store(time.Now().UnixMilli())
	r.ctx, r.end = context.WithCancel(context.Background())
}

// add has a part of the node take the settings, now and whenever they change. The error
// is that of its prepare.
func (r *reload) add(p *part) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.config.Load()
	p.look(c)
	commit, err := p.prepare(c)
	if err != nil {
		return err
	}
	p.watched.taken()
	commit()
	r.parts = append(r.parts, p)
	list := slices.Clone(r.parts)
	r.list.Store(&list)
	return nil
}

// checks returns what there is to say of each part.
func (r *reload) checks() (list []web.Check) {
	parts := r.list.Load()
	if parts == nil {
		return nil
	}
	for _, p := range *parts {
		c := web.Check{Name: p.name}
		if err := p.problem.Load(); err != nil {
			c.Err = errors.New(strings.ReplaceAll((*err).Error(), "\n", "; "))
		}
		list = append(list, c)
	}
	return list
}

// Reload has the node take other settings, which are those that load returns, and the
// files that these name anew: all of it, or, with an error, nothing. The error has a line
// for each problem. Of what takes a restart the node warns. It is safe for concurrent use;
// a call waits for those before it, and for the file system. Before Start has returned it
// must not be called.
func (n *Node) Reload(load func() (config.Config, error)) error {
	r := &n.reload
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := load()
	if err == nil {
		err = r.take(&c)
	}
	r.count(err)
	return err
}

func (r *reload) count(err error) {
	if err != nil {
		r.failed.Add(1)
		return
	}
	r.succeeded.Add(1)
	r.last.Store(time.Now().UnixMilli())
}

// take puts new settings in force. Caller holds mu.
func (r *reload) take(wanted *config.Config) error {
	n, old := r.n, r.config.Load()
	ofCluster := func(s config.Setting) bool {
		return n.member.Load() != nil && slices.Contains(clusterSettings, s.Name)
	}
	c, changed, heldBack := config.Reload(old, wanted, ofCluster)
	var problems []error
	if err := c.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("with what takes a restart as it is: %w", err))
	}
	if err := checkExposed(&c); err != nil {
		problems = append(problems, err)
	}
	var commits []func()
	for _, p := range r.parts {
		if before := p.watched; !p.sameFiles(old, &c) {
			defer func() {
				if r.config.Load() == old { // of which the others are
					p.watched = before
				}
			}()
		}
		p.look(&c)
		commit, err := p.prepare(&c)
		if err != nil {
			p.note(err)
			p.watched.taken() // it is told once
			problems = append(problems, err)
			continue
		}
		commits = append(commits, commit)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	share, err := n.shareOf(&c)
	if err != nil {
		return err
	}
	var topics *topicState
	if n.member.Load() == nil {
		if topics, err = n.topicSettings.reload(&c); err != nil {
			return err
		}
	}
	r.config.Store(&c)
	n.setLimits(&c, share, topics)
	for _, commit := range commits {
		commit()
	}
	for _, p := range r.parts { // and not before: what is not committed is still to be taken
		p.note(nil)
		p.watched.taken()
	}
	var names []string
	for _, s := range changed {
		names = append(names, s.Name)
		n.log.Info("setting changed", "setting", s.Name, "value", s.Value(&c), "before", s.Value(old))
	}
	if !slices.Equal(old.TopicRules, c.TopicRules) {
		names = append(names, "[["+overrides.Header+"]]")
	}
	for _, s := range heldBack {
		if ofCluster(s) {
			n.log.Warn(s.Name+": changed, but the setting is the cluster's: see log-cli cluster set", "value", s.Value(wanted), "now", s.Value(&c))
			continue
		}
		n.log.Warn(s.Name+": changed, takes a restart", "value", s.Value(wanted), "now", s.Value(&c))
	}
	if names == nil {
		names = []string{"nothing"}
	}
	n.log.Info("settings were read again", "changed", strings.Join(names, ","))
	return nil
}

// setLimits puts in force what can't fail.
func (n *Node) setLimits(c *config.Config, share descriptors, topics *topicState) {
	if n.o.LogLevel != nil {
		n.o.LogLevel.Set(c.LogLevel)
	}
	s := n.server.Load()
	s.SetLimits(server.Limits{
		Timeout: c.Timeout, IdleTimeout: c.IdleTimeout, MaxConnections: share.connections, MaxHTTPWaits: share.httpWaits(),
		AuthTimeout: c.AuthTimeout, MaxUnauthenticated: maxUnauthenticated(c, share), TopicWriteRate: c.TopicWriteRate,
	})
	if n.web != nil {
		n.web.SetLimits(webLimits(c, share))
	}
	if m := n.member.Load(); m != nil {
		m.reloaded()
		return // what the store goes by is the cluster's
	}
	s.SetSettings(n.settings(c))
	n.keeper.Load().SetRules(positionRules(c))
	n.topicSettings.put(c, topics)
}

// watchFiles has the parts take the files that change, until the node ends.
func (r *reload) watchFiles() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			r.lookAtFiles()
		}
	}
}

func (r *reload) lookAtFiles() {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.config.Load()
	for _, p := range r.parts {
		if !p.look(c) {
			continue
		}
		commit, err := p.prepare(c)
		p.note(err)
		p.watched.taken()
		r.count(err)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				r.n.log.Error("a changed file is not taken; what was in use stays so: "+strings.TrimSuffix(line, "\n"), "part", p.name)
			}
			continue
		}
		commit()
		r.n.log.Info("changed files were taken", "part", p.name, "files", strings.Join(p.files(c), ","))
	}
}

// look looks at the part's files, and reports whether they have changed and are to be
// taken.
func (p *part) look(c *config.Config) bool {
	if p.files == nil {
		return false
	}
	return p.watched.look(p.files(c))
}

func (p *part) sameFiles(a, b *config.Config) bool {
	return p.files == nil || slices.Equal(p.files(a), p.files(b))
}

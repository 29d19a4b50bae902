package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// topicSettings are the settings of single topics that are in force: those that commands
// have set, and those of the configuration file. What a command sets is kept in
// overrides.File. They change while reload.mu is held.
type topicSettings struct {
	n     *Node
	state atomic.Pointer[topicState]
}

// topicState is what counts for topics: it is not changed.
type topicState struct {
	set  *overrides.Set
	base overrides.Base
}

// open reads what commands have set, for a node that is in no cluster.
func (t *topicSettings) open(c *config.Config) error {
	commands, err := ReadTopicSettings(t.n.fs)
	if err != nil {
		return err
	}
	set, err := overrides.New(commands, c.TopicRules)
	if err != nil {
		return err
	}
	t.state.Store(&topicState{set, c.TopicBase()})
	return nil
}

// ReadTopicSettings returns what commands have set for single topics, as the work directory
// has it of a server that is in no cluster.
func ReadTopicSettings(fsys vfs.FS) ([]overrides.Rule, error) {
	data, err := vfs.ReadFile(fsys, overrides.File, overrides.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var rules []overrides.Rule
	if err == nil {
		rules, err = overrides.Parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("settings of topics, %s in the work directory: %w; without the file topics go by the configuration alone", overrides.File, err)
	}
	return rules, nil
}

// reload takes what a configuration says, and returns what counts then.
func (t *topicSettings) reload(c *config.Config) (*topicState, error) {
	set, err := t.state.Load().set.WithFile(c.TopicRules)
	if err != nil {
		return nil, err
	}
	return &topicState{set, c.TopicBase()}, nil
}

// put has all go by a state.
func (t *topicSettings) put(c *config.Config, s *topicState) {
	t.state.Store(s)
	t.n.store.Load().SetLimits(storeLimits(c, s))
	t.n.server.Load().SetTopicLimits(s.limits())
}

// storeLimits returns what a configuration says of what is stored, and of single topics a
// state.
func storeLimits(c *config.Config, s *topicState) storage.Limits {
	l := storage.Limits{
		MaxTopics: c.Topics, AllowedTopics: c.TopicsWhitelist, KeepFree: c.KeepFree,
		Retention: topic.Limits{Partitions: int64(c.Partitions), Bytes: c.RetentionBytes, Age: c.RetentionAge},
	}
	if !s.set.Empty() {
		l.Own = storage.Own{LeastAge: s.set.LeastAge(), Of: s.kept}
	}
	return l
}

// kept returns by what the log of a topic is kept.
func (s *topicState) kept(name string) storage.Kept {
	v := s.set.Values([]byte(name), &s.base)
	return storage.Kept{
		Retention:     retentionOf(&v),
		PartitionSize: v.PartitionSize,
		SyncsFirst:    v.Durability == overrides.Synced,
	}
}

func retentionOf(v *overrides.Values) topic.Limits {
	return topic.Limits{Partitions: int64(v.Partitions), Bytes: v.RetentionBytes, Age: v.RetentionAge}
}

// limits returns what a server asks for what it takes for topics; nil if that is the same
// for all.
func (s *topicState) limits() func(name []byte) server.TopicLimits {
	if !s.set.Has(overrides.BatchSize) && !s.set.Has(overrides.TopicWriteRate) && !s.set.Has(overrides.Durability) {
		return nil
	}
	return func(name []byte) server.TopicLimits {
		v := s.set.Values(name, &s.base)
		return server.TopicLimits{MaxBatchSize: v.BatchSize, WriteRate: v.TopicWriteRate, SyncsFirst: v.Durability == overrides.Synced}
	}
}

// with returns the set with a change, and the rule that it has set, if it is one.
func (s *topicState) with(key, value, pattern, by string) (set *overrides.Set, r overrides.Rule, err error) {
	r, err = overrides.Change(key, value, pattern)
	if err != nil {
		return nil, r, refused{err}
	}
	if r.Value == "" {
		return s.set.Unset(r.Key, pattern), r, nil
	}
	if err := r.Fits(&s.base); err != nil {
		return nil, r, refused{fmt.Errorf("%s = %s: %w", key, value, err)}
	}
	r.By, r.Millis = by, nowMillis()
	if set, err = s.set.Set(r); err != nil {
		return nil, r, refused{err}
	}
	return set, r, nil
}

// nowMillis returns the time, in milliseconds since 1970.
func nowMillis() int64 { return time.Now().UnixMilli() }

// refused is a setting that a topic can't have.
type refused struct{ error }

// Is reports whether it stands for topic.ErrInvalid.
func (refused) Is(target error) bool { return target == topic.ErrInvalid }

// Change implements server.TopicSettings.
func (t *topicSettings) Change(ctx context.Context, key, value, pattern, by string) error {
	n := t.n
	if m := n.member.Load(); m != nil {
		return t.changeCluster(ctx, m, key, value, pattern, by)
	}
	n.reload.mu.Lock()
	defer n.reload.mu.Unlock()
	s := t.state.Load()
	set, r, err := s.with(key, value, pattern, by)
	if err != nil {
		return err
	}
	c := n.reload.config.Load()
	if err := vfs.Replace(n.fs, overrides.File, overrides.Append(nil, set.Commands()), c.FileMode); err != nil {
		return fmt.Errorf("%w: keep settings of topics in %s: %w", topic.ErrReadOnly, overrides.File, err)
	}
	t.put(c, &topicState{set, s.base})
	n.log.Info("setting of topics changed", "topics", pattern, "setting", key, "value", value, "by", r.By)
	return nil
}

// Try implements server.TopicSettings.
func (t *topicSettings) Try(key, value, pattern string, topics []string) (list []protocol.TriedSetting, err error) {
	s := t.state.Load()
	set, r, err := s.with(key, value, pattern, "")
	if err != nil {
		return nil, err
	}
	for _, name := range topics {
		is, will := s.set.Values([]byte(name), &s.base), set.Values([]byte(name), &s.base)
		if was, value := is.Text(r.Key), will.Text(r.Key); was != value {
			list = append(list, protocol.TriedSetting{Topic: name, Value: value, Was: was})
		}
	}
	return list, nil
}

// Of implements server.TopicSettings.
func (t *topicSettings) Of(name []byte, all bool) (list []protocol.TopicSetting) {
	s := t.state.Load()
	if s.set.Empty() && !all {
		return nil
	}
	for _, v := range s.set.Of(name, &s.base) {
		if v.Own || all {
			list = append(list, protocol.TopicSetting{Key: v.Key.String(), Value: v.Value, Origin: v.Origin})
		}
	}
	return list
}

// ErrTopicName is a name that no topic can have.
var ErrTopicName = errors.New("not the name of a topic")

// TopicSettings returns what counts for a topic of a server with the configuration c, which
// is in no cluster, whether it runs or not. Nothing is changed, and no lock is taken.
func TopicSettings(c *config.Config, name string) ([]overrides.Value, error) {
	if !batch.ValidTopic(name) {
		return nil, fmt.Errorf("%w: %q", ErrTopicName, name)
	}
	var commands []overrides.Rule
	if _, err := os.Stat(c.WorkDir); err == nil {
		fsys, err := vfs.OpenOS(c.WorkDir, 0o700)
		if err != nil {
			return nil, fmt.Errorf("open work directory: %w", err)
		}
		defer fsys.Close()
		if commands, err = ReadTopicSettings(fsys); err != nil {
			return nil, err
		}
	}
	set, err := overrides.New(commands, c.TopicRules)
	if err != nil {
		return nil, err
	}
	b := c.TopicBase()
	return set.Of([]byte(name), &b), nil
}

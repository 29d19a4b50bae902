package node

import (
	"cmp"
	"context"
	"io/fs"
	"slices"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/vfs"
)

// In a cluster the settings of single topics are in group 0: each is a setting whose value is
// the line that a single server has in its file.

// clusterOrigin is where values are from that all members have.
const clusterOrigin = "the cluster"

// topicRules returns what group 0 says of single topics. Lines that this version does not
// understand are left out.
func topicRules(s *cluster.Said, unknown func(line string, err error)) (rules []overrides.Rule) {
	if s == nil {
		return nil
	}
	for _, line := range s.Topics() {
		r, err := overrides.ParseRule(line)
		if err != nil {
			unknown(line, err)
			continue
		}
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b overrides.Rule) int {
		return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Key, b.Key))
	})
	return rules
}

// ruleID is under what group 0 keeps a rule.
func ruleID(r *overrides.Rule) string { return r.Key.String() + " " + r.Pattern }

// follow takes what group 0 says, and the settings that are in force besides.
func (t *topicSettings) follow(s *cluster.Said, c *config.Config) {
	set, err := overrides.New(topicRules(s, func(line string, err error) {
		t.n.log.Error("a setting of topics makes no sense to this version", "setting", line, "err", err)
	}), nil)
	if err != nil {
		t.n.log.Error("settings of topics make no sense to this version", "err", err)
		return
	}
	b := c.TopicBase()
	for _, k := range overrides.Keys() {
		if slices.Contains(clusterSettings, k.String()) {
			b.Origins[k] = clusterOrigin
		}
	}
	b.Durability, b.Fixed, b.Origins[overrides.Durability] = overrides.Replicated, true, clusterOrigin
	state := &topicState{set, b}
	t.state.Store(state)
	if srv := t.n.server.Load(); srv != nil {
		srv.SetTopicLimits(state.limits())
	}
}

// own returns by what a topic of a cluster is kept that has settings of its own.
func (t *topicSettings) own(name string) (storage.Kept, bool) {
	s := t.state.Load()
	if s == nil || s.set.Empty() {
		return storage.Kept{}, false
	}
	return s.kept(name), true
}

// leastPartition returns the least size of a partition that a topic may have.
func (t *topicSettings) leastPartition() int64 {
	s := t.state.Load()
	return s.set.LeastPartition(s.base.PartitionSize)
}

// changeCluster has group 0 say what a command sets.
func (t *topicSettings) changeCluster(ctx context.Context, m *member, key, value, pattern, by string) error {
	_, r, err := t.state.Load().with(key, value, pattern, by)
	if err != nil {
		return err
	}
	line := ""
	if r.Value != "" {
		line = r.Text()
	}
	if err := m.node.SetTopics(ctx, ruleID(&r), line); err != nil {
		return err
	}
	t.n.log.Info("setting of topics changed", "topics", pattern, "setting", key, "value", value, "by", r.By)
	return nil
}

// firstTopicSettings returns what a new cluster begins with: what commands have set on this
// server, and what stands in the configuration file besides.
func firstTopicSettings(fsys vfs.FS, c *config.Config) (list []entry.Setting, err error) {
	rules, err := ReadTopicSettings(fsys)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, r := range slices.Concat(rules, c.TopicRules) {
		if id := ruleID(&r); !seen[id] {
			seen[id] = true
			if r.File != "" {
				r.By, r.Millis = "init", nowMillis()
			}
			list = append(list, cluster.TopicSetting(id, r.Text()))
		}
	}
	return list, nil
}

// keepTopicSettings keeps what group 0 has said in the file of a single server, in place of
// what that had before it was a member.
func keepTopicSettings(fsys vfs.FS, s *cluster.Said, perm fs.FileMode) error {
	rules := topicRules(s, func(string, error) {})
	return vfs.Replace(fsys, overrides.File, overrides.Append(nil, rules), perm)
}

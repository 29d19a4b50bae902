package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestClusterTopicSettings: settings of single topics are the cluster's: taken at init, said by
// group 0, in force on all members, also on one that starts anew or joins later, and kept when
// the cluster ends.
func TestClusterTopicSettings(t *testing.T) {
	single := testConfig(t)
	single.HTTPHost = ""
	n, err := Start(t.Context(), Options{Config: single, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	tell(t, n, "SETTING partitions 4 topic=t", "SETTING retention-age 720h topic=*")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	c := beginCluster(t, single.WorkDir, func(g *config.Config) {
		g.PartitionSize, g.BatchSize, g.Partitions = 1000, 500, 8
		g.TopicRules = []overrides.Rule{
			{Key: overrides.Partitions, Pattern: "t", Value: "7", File: "c.toml", Line: 2}, // the command's is stronger
			{Key: overrides.PartitionSize, Pattern: "small", Value: "500", File: "c.toml", Line: 3},
		}
	})
	c.join("b", "c")
	for i := range 20 {
		c.write("t", fmt.Sprintf("%d %s", i, strings.Repeat("x", 300)))
		c.write("small", fmt.Sprintf("%d %s", i, strings.Repeat("x", 200)))
		c.write("u", fmt.Sprintf("%d %s", i, strings.Repeat("x", 300)))
	}
	partitions := func(topic, want string) {
		t.Helper()
		c.waitAll("INFO "+topic, func(b string) bool { return field(b, "Partitions") == want })
	}
	partitions("t", "4")
	partitions("u", "8")
	c.waitAll("INFO small settings=1", func(b string) bool {
		return field(b, "Partitions") == "8" && strings.HasPrefix(field(b, "SettingPartitionSize"), "500 set by init 20") && field(b, "SettingPartitions") == "8 the cluster" &&
			strings.HasPrefix(field(b, "SettingRetentionAge"), "720h set by anybody 20") && field(b, "SettingDurability") == "replicated the cluster"
	})
	if _, body := c.ask("a", "RETENTION small"); strings.Count(body, "base=") != 8 || !strings.Contains(body, "end=") {
		t.Errorf("%s", body)
	}

	c.do("SETTING partitions 2 topic=t")
	partitions("t", "2")
	partitions("u", "8")
	c.do("SETTING batch-size 256 topic=t*")
	c.do("SETTING durability synced topic=t")
	c.waitAll("INFO t settings=1", func(b string) bool {
		return field(b, "MaxBatchSize") == "256" && field(b, "SettingDurability") == "replicated the cluster"
	})
	testkit.Eventually(t, func() string {
		line, _ := askLine(c, "SETTING partitions 1 topic=u dry-run=1")
		return testkit.Unless(strings.HasPrefix(line, "MOK "), line)
	})
	for _, request := range []string{"SETTING batch-size 501 topic=t", "SETTING partitions 0 topic=t", "SETTING ~topic/x 1", "SETTING nothing 1 topic=t"} {
		if line, _ := askLine(c, request); line != "ERR invalid request" {
			t.Errorf("%s: %s", request, line)
		}
	}
	line, _ := askLine(c, strings.TrimSuffix(testkit.Batch("t", strings.Repeat("x", 250)), "\r\n"))
	if line != "ERR too large" {
		t.Errorf("a batch that is too large for its topic: %s", line)
	}

	// A member that starts anew knows it; what is taken away is gone on all.
	c.stop("c")
	c.do("SETTING batch-size - topic=t*")
	c.do("SETTING partitions 3 topic=late")
	c.start("c")
	c.waitAll("INFO t", func(b string) bool {
		return field(b, "MaxBatchSize") == "" && strings.HasPrefix(field(b, "SettingPartitions"), "2 set by anybody 20")
	})
	c.do("SETTING batch-size - topic=t*") // again

	c.stop("c")
	c.stop("b")
	c.stop("a")
	a := c.configs["a"]
	if _, unread, err := SingleNode(t.Context(), &a); unread != nil || err != nil {
		t.Fatal(unread, err)
	}
	data, err := os.ReadFile(filepath.Join(a.WorkDir, overrides.File))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := overrides.Parse(data)
	var kept []string
	for _, r := range rules {
		kept = append(kept, r.Pattern+" "+r.Key.String()+" "+r.Value)
	}
	if got := strings.Join(kept, ", "); err != nil || got != "* retention-age 720h, late partitions 3, small partition-size 500, t partitions 2, t durability synced" {
		t.Errorf("kept: %s, %v", got, err)
	}
}

// TestKeptTopicSettings: what group 0 says stands in the place of what the server had before
// it was a member, also if it is nothing.
func TestKeptTopicSettings(t *testing.T) {
	disk := vfstest.New()
	if err := vfs.Replace(disk, overrides.File, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keepTopicSettings(disk, &cluster.Said{}, 0o600); err != nil {
		t.Fatal(err)
	}
	if rules, err := ReadTopicSettings(disk); err != nil || len(rules) > 0 {
		t.Errorf("%v, %v", rules, err)
	}
}

// TestUnreadTopicSettings: a member whose log can't be read becomes a single server all the
// same, and who does that is told.
func TestUnreadTopicSettings(t *testing.T) {
	c := beginCluster(t, t.TempDir(), func(*config.Config) {})
	c.stop("a")
	a := c.configs["a"]
	logs, err := filepath.Glob(filepath.Join(a.WorkDir, ".cluster", "log", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	for _, name := range logs {
		if err := os.WriteFile(name, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if id, unread, err := SingleNode(t.Context(), &a); id != c.id || unread == nil || err != nil {
		t.Errorf("%q, unread: %v, %v", id, unread, err)
	}
}

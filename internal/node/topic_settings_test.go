package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/testkit"
)

// tell returns the answers to requests, of which the last is CLOSE.
func tell(t testing.TB, n *Node, requests ...string) string {
	t.Helper()
	return strings.TrimSuffix(answers(t, n, strings.Join(requests, "\r\n")+"\r\nCLOSE\r\n"), "OK\r\n")
}

// settingLines returns the lines of INFO that tell settings of a topic.
func settingLines(t testing.TB, n *Node, topic string) string {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^(Setting|MaxBatchSize).*$`).FindAllString(tell(t, n, "INFO "+topic+" settings=1"), -1)
	return strings.ReplaceAll(strings.Join(lines, "\n"), "\r", "")
}

// TestSettingOfTopics: SETTING with topic= is in force at once, is told with where it is
// from, outlasts a restart, and is taken away by -.
func TestSettingOfTopics(t *testing.T) {
	c := testConfig(t)
	c.TopicRules = []overrides.Rule{{Key: overrides.Partitions, Pattern: "orders.*", Value: "5", File: "c.toml", Line: 7}}
	c.TopicOrigins[overrides.PartitionSize] = "flag --partition-size"
	start := func() *Node {
		t.Helper()
		n, err := Start(context.Background(), Options{Config: c, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := start()
	if got := tell(t, n, "CREATE orders.eu", "CREATE other",
		"SETTING retention-age 720h topic=orders.*", "SETTING batch-size 1KiB topic=orders.eu", "SETTING durability synced topic=orders.eu"); got != strings.Repeat("OK\r\n", 5) {
		t.Fatalf("%q", got)
	}
	const dated = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	says := func(topic, want string) {
		t.Helper()
		if got := settingLines(t, n, topic); !regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "DATE", dated) + "$").MatchString(got) {
			t.Errorf("%s:\n%s\nwant\n%s", topic, got, want)
		}
	}
	all := func() {
		t.Helper()
		says("orders.eu", `MaxBatchSize: 1024
SettingPartitions: 5 c.toml:7 [[topic]] "orders.*"
SettingPartitionSize: 2000MiB flag --partition-size
SettingRetentionAge: 720h set by anybody DATE "orders.*"
SettingRetentionBytes: 0 default
SettingBatchSize: 1KiB set by anybody DATE
SettingTopicWriteRate: 0 default
SettingDurability: synced set by anybody DATE`)
		says("other", `SettingPartitions: 8 default
SettingPartitionSize: 2000MiB flag --partition-size
SettingRetentionAge: 0s default
SettingRetentionBytes: 0 default
SettingBatchSize: 64KiB default
SettingTopicWriteRate: 0 default
SettingDurability: flushed default`)
		large := testkit.Batch("orders.eu", strings.Repeat("x", 1500))
		if got := answers(t, n, large+"PING\r\nCLOSE\r\n"); got != "ERR too large\r\nOK\r\nOK\r\n" {
			t.Errorf("a batch that is too large for the topic: %q; the connection stays", got)
		}
		if got := answers(t, n, "BATCH 995 orders.eu - 1\r\nMSG 984\r\n"+strings.Repeat("x", 984)+"\r\nPING\r\nCLOSE\r\n"); got != "ERR too large\r\nOK\r\nOK\r\n" {
			t.Errorf("one that is by the checksum: %q", got)
		}
	}
	all()
	if err := n.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	n = start()
	all()
	if got := tell(t, n, "SETTING retention-age - topic=orders.*", "SETTING batch-size - topic=orders.eu", "SETTING durability - topic=orders.eu", "SETTING partitions - topic=nobody"); got != strings.Repeat("OK\r\n", 4) {
		t.Fatalf("%q", got)
	}
	says("orders.eu", `SettingPartitions: 5 c.toml:7 [[topic]] "orders.*"
SettingPartitionSize: 2000MiB flag --partition-size
SettingRetentionAge: 0s default
SettingRetentionBytes: 0 default
SettingBatchSize: 64KiB default
SettingTopicWriteRate: 0 default
SettingDurability: flushed default`)
	if err := n.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	// The file is not what it was, or not what this version can read: no data is removed by
	// other settings than those that were set.
	name := filepath.Join(c.WorkDir, overrides.File)
	if err := os.WriteFile(name, []byte("logd-settings 1\npartitions 1 a 0 -\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(context.Background(), Options{Config: c})
	if err == nil || !strings.Contains(err.Error(), "settings of topics, .settings in the work directory: line 3: the file ends in it") {
		t.Errorf("start: %v", err)
	}
}

func TestSettingRefused(t *testing.T) {
	n := startNode(t, nil)
	for _, request := range []string{
		"SETTING partitions 0 topic=a", "SETTING partitions x topic=a", "SETTING nothing 1 topic=a", "SETTING timeout 1s topic=a",
		"SETTING partitions 1 topic=", "SETTING partitions 1 topic=a topic=b", "SETTING partitions 1 topic=a/b", "SETTING partitions 1 topic=__positions",
		"SETTING partitions 1 topic=__*", "SETTING batch-size 1MiB topic=a", "SETTING durability replicated topic=a", "SETTING partitions 1",
		"SETTING partitions - topic=a/b", "SETTING nothing - topic=a", "SETTING partitions 1 dry-run=1", "SETTING partitions 1 topic=*********", "SETTING partitions 1 topic=a x=1",
	} {
		if got := tell(t, n, request); got != "ERR invalid request\r\n" {
			t.Errorf("%s: %q", request, got)
		}
	}
	if _, err := os.Stat(filepath.Join(n.o.Config.WorkDir, overrides.File)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was kept: %v", err)
	}
}

// TestSettingTried: a dry run tells which topics would go by another value, and changes
// nothing.
func TestSettingTried(t *testing.T) {
	n := startNode(t, nil)
	tell(t, n, "CREATE a.1", "CREATE a.2", "CREATE b", "SETTING partitions 3 topic=a.2", "SETTING partitions 4 topic=a.*")
	for request, want := range map[string]string{
		"SETTING partitions 2 topic=*":     "topic=b value=2 was=8",
		"SETTING partitions 2 topic=a.*":   "topic=a.1 value=2 was=4",
		"SETTING partitions - topic=a.2":   "topic=a.2 value=4 was=3",
		"SETTING partitions - topic=a.*":   "topic=a.1 value=8 was=4",
		"SETTING partitions 3 topic=a.2":   "",
		"SETTING partitions - topic=other": "",
	} {
		before := settingLines(t, n, "a.1") + settingLines(t, n, "a.2")
		got := tell(t, n, request+" dry-run=1")
		if want != "" {
			want += "\r\n"
		}
		if want = fmt.Sprintf("MOK %d\r\n%s\r\n", len(want), want); got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
		if after := settingLines(t, n, "a.1") + settingLines(t, n, "a.2"); after != before {
			t.Errorf("%s has changed something", request)
		}
	}
}

// TestSettingRemoves: what a setting says of retention removes at once, and of no other
// topic.
func TestSettingRemoves(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.BatchSize, c.PartitionSize = 128, 128 })
	fill := func(topic string) string {
		return strings.TrimSuffix(strings.Repeat(testkit.Batch(topic, strings.Repeat("x", 60)), 6), "\r\n")
	}
	tell(t, n, fill("t"), fill("u"))
	partitions := func(topic string) string {
		return regexp.MustCompile(`\nPartitions: (\d+)`).FindStringSubmatch(tell(t, n, "INFO "+topic))[1]
	}
	if got := tell(t, n, "SETTING partitions 2 topic=t"); got != "OK\r\n" {
		t.Fatal(got)
	}
	testkit.Eventually(t, func() string { return testkit.Unless(partitions("t") == "2", "t has "+partitions("t")+" partitions") })
	if got := partitions("u"); got != "6" {
		t.Errorf("another topic has %s partitions", got)
	}
}

// TestTopicWriteRate: a topic has its own rate, and others have none.
func TestTopicWriteRate(t *testing.T) {
	n := startNode(t, nil)
	tell(t, n, "SETTING topic-write-rate 1KiB topic=slow")
	large := strings.Repeat("x", 20_000)
	if got := answers(t, n, testkit.Batch("fast", large)+testkit.Batch("fast", "x")+testkit.Batch("slow", large)+testkit.Batch("slow", "x")+"CLOSE\r\n"); !regexp.MustCompile(`^OK 0 1\r\nOK \d+ 1\r\nOK 0 1\r\nERR busy\r\nOK\r\n$`).MatchString(got) {
		t.Errorf("%q", got)
	}
	// Who waits goes on when the rate is taken away.
	c, r := dial(t, n)
	io.WriteString(c, testkit.Batch("slow2", "x"))
	r.ReadString('\n')
	tell(t, n, "SETTING topic-write-rate 1KiB topic=slow2")
	begun := time.Now()
	io.WriteString(c, testkit.Batch("slow2", strings.Repeat("x", 5000))+testkit.Batch("slow2", "x"))
	r.ReadString('\n')
	tell(t, n, "SETTING topic-write-rate - topic=slow2")
	if got, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(got, "OK ") || time.Since(begun) > 3*time.Second {
		t.Errorf("%q, %v, after %v", got, err, time.Since(begun))
	}
}

// TestReloadTopicTables: a reload takes the tables of the file, and keeps what commands have
// set.
func TestReloadTopicTables(t *testing.T) {
	n, c, log := startReloadable(t, nil)
	tell(t, n, "CREATE t", "SETTING partitions 3 topic=t")
	c.TopicRules = []overrides.Rule{
		{Key: overrides.Partitions, Pattern: "t", Value: "5", File: "c.toml", Line: 2},
		{Key: overrides.BatchSize, Pattern: "t", Value: "1KiB", File: "c.toml", Line: 3},
	}
	if err := n.reloadTo(c); err != nil {
		t.Fatal(err)
	}
	got := settingLines(t, n, "t")
	if !strings.Contains(got, "MaxBatchSize: 1024\nSettingPartitions: 3 set by anybody ") || !strings.Contains(got, `SettingBatchSize: 1KiB c.toml:3 [[topic]] "t"`) {
		t.Errorf("%s", got)
	}
	if !strings.Contains(log.take(), "changed=[[topic]]") {
		t.Error("the log says nothing of it")
	}
	c.TopicRules[1].Value = "1MiB"
	if err := n.reloadTo(c); err == nil || !strings.Contains(err.Error(), `c.toml:3: batch-size = "1MiB": larger than that of the server, which is 64KiB (default)`) {
		t.Errorf("reload: %v", err)
	}
	if again := settingLines(t, n, "t"); again != got {
		t.Errorf("a reload that was refused has changed something: %s", again)
	}
}

// TestSettingRights: admin of a topic may set what is its own, of a pattern only who
// administers all.
func TestSettingRights(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.AuthFile = authFile(t, "anonymous: admin,read orders.*", "ops: admin *") })
	for request, want := range map[string]string{
		"SETTING partitions 3 topic=orders.eu":           "OK\r\n",
		"SETTING partitions 3 topic=orders.*":            "ERR unauthorized\r\n",
		"SETTING partitions 3 topic=other":               "ERR unauthorized\r\n",
		"SETTING partitions 3 topic=other dry-run=1":     "ERR unauthorized\r\n",
		"SETTING partitions 3 topic=orders.eu dry-run=1": "MOK 0\r\n\r\n",
		"SETTING partitions 3":                           "ERR unauthorized\r\n",
	} {
		if got := tell(t, n, request); got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
}

// TestTopicWriteRateOverHTTP: requests over HTTP that write nothing do not wait for the rate
// of a topic.
func TestTopicWriteRateOverHTTP(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.TopicWriteRate = 1024 })
	begun := time.Now()
	for range 20 { // each would count as 256 bytes
		a, err := http.Post("http://"+n.HTTPAddr().String()+"/log", "application/logd", strings.NewReader("TOPICS\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != 200 {
			t.Fatal(a.Status)
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("20 requests took %v", took)
	}
}

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/overrides"
)

// TestTopicTables: what stands under [[topic]] is for topics alone, wherever the server's
// values come from.
func TestTopicTables(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c.toml", "partitions = 3\n\n[[topic]]\nmatch = \"orders.*\"\npartitions = 5\nbatch-size = \"32KiB\"\n")
	c, origins, err := Load(Sources{File: "c.toml", Env: []string{"LOGD_RETENTION_AGE=2h"}, Flags: map[string][]string{"flush-batches": {"1"}}})
	if err != nil {
		t.Fatal(err)
	}
	c.TopicOrigins = TopicOrigins(origins)
	want := []overrides.Rule{
		{Key: overrides.Partitions, Pattern: "orders.*", Value: "5", File: "c.toml", Line: 5},
		{Key: overrides.BatchSize, Pattern: "orders.*", Value: "32KiB", File: "c.toml", Line: 6},
	}
	if diff := cmp.Diff(want, c.TopicRules); diff != "" || c.Partitions != 3 || c.BatchSize != 64<<10 {
		t.Errorf("partitions = %d, batch-size = %d\n%s", c.Partitions, c.BatchSize, diff)
	}
	s, err := overrides.New(nil, c.TopicRules)
	if err != nil {
		t.Fatal(err)
	}
	show := func(topic string) string {
		b := c.TopicBase()
		var lines []string
		for _, v := range s.Of([]byte(topic), &b) {
			lines = append(lines, v.Key.String()+" "+v.Value+" "+v.Origin)
		}
		return strings.Join(lines, "\n")
	}
	const rest = `
partition-size 2000MiB default
retention-age 2h environment LOGD_RETENTION_AGE
retention-bytes 0 default
`
	if got, want := show("orders.eu"), `partitions 5 c.toml:5 [[topic]] "orders.*"`+rest+`batch-size 32KiB c.toml:6 [[topic]] "orders.*"
topic-write-rate 0 default
durability synced flag --flush-batches`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got, want := show("other"), `partitions 3 c.toml:1`+rest+`batch-size 64KiB default
topic-write-rate 0 default
durability synced flag --flush-batches`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestTopicTablesRefused: what is wrong under [[topic]] stops the start, with its place.
func TestTopicTablesRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct{ text, want string }{
		{"[[topic]]\nmatch = \"a\"\nbatch-size = \"1MiB\"\n", `c.toml:3: batch-size = "1MiB": larger than that of the server, which is 64KiB (default)`},
		{"[[topic]]\nmatch = \"a\"\npartitions = 0\n", "c.toml:3: partitions = 0: out of range; allowed: 1 to 1000000"},
		{"[[topic]]\npartitions = 1\n", "c.toml:1: [[topic]]: match is missing: for which topics?; allowed: a name of a topic, in which * stands for any bytes"},
		{"[topic]\nmatch = \"a\"\n", "c.toml:1: [topic]: write [[topic]]: there may be several"},
		{"[[topic]]\nmatch = \"a\"\ntimeout = \"1s\"\n", "c.toml:3: timeout = \"1s\": not a setting of [[topic]]; it stands at the top of the file, before the first [[header]]"},
		{"[[topic]]\nmatch = \"a\"\nretention-ag = \"1s\"\n", "c.toml:3: retention-ag = \"1s\": unknown key; did you mean retention-age?"},
	} {
		write(t, "c.toml", test.text)
		_, _, err := Load(Sources{File: "c.toml"})
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: %v, want %s", test.text, err, test.want)
		}
	}
}

// TestTopicTablesReload: a reload takes the tables that there are by now.
func TestTopicTablesReload(t *testing.T) {
	old, wanted := Default(), Default()
	old.TopicRules = []overrides.Rule{{Key: overrides.Partitions, Pattern: "a", Value: "2", File: "c.toml", Line: 2}}
	wanted.TopicRules = []overrides.Rule{{Key: overrides.Partitions, Pattern: "b", Value: "3", File: "c.toml", Line: 2}}
	wanted.BatchSize, wanted.Partitions = 1<<17, 4
	wanted.TopicOrigins = overrides.Origins{overrides.BatchSize: "c.toml:1", overrides.Partitions: "c.toml:2"}
	merged, _, _ := Reload(&old, &wanted, nil)
	if diff := cmp.Diff(wanted.TopicRules, merged.TopicRules); diff != "" {
		t.Error(diff)
	}
	if o := merged.TopicOrigins; o[overrides.BatchSize] != "" || o[overrides.Partitions] != "c.toml:2" {
		t.Errorf("origins %q: batch-size takes a restart, and is where it was", o)
	}
	// A batch-size of a topic has to go with that which takes a restart, too.
	wanted.TopicRules[0] = overrides.Rule{Key: overrides.BatchSize, Pattern: "b", Value: "100KiB", File: "c.toml", Line: 2}
	merged, _, _ = Reload(&old, &wanted, nil)
	if err := merged.Validate(); err == nil || !strings.Contains(err.Error(), "c.toml:2: batch-size") {
		t.Errorf("valid: %v", err)
	}
}

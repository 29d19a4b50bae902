package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/setting"
)

func TestReload(t *testing.T) {
	old := Default()
	wanted := old
	wanted.Host = "127.0.0.1:9"              // takes a start
	wanted.Timeout = time.Minute             // takes effect
	wanted.TopicsWhitelist = []string{"a"}   // takes effect
	wanted.Partitions, wanted.Topics = 3, 10 // one of which is kept
	got, changed, heldBack := Reload(&old, &wanted, func(s Setting) bool { return s.Name == "partitions" })
	want := old
	want.Timeout, want.TopicsWhitelist, want.Topics = time.Minute, []string{"a"}, 10
	if !reflect.DeepEqual(got, want) {
		t.Errorf("merged %+v\nwant %+v", got, want)
	}
	names := func(list []Setting) string {
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
		}
		return strings.Join(names, " ")
	}
	if c, h := names(changed), names(heldBack); c != "timeout topics topics-whitelist" || h != "host partitions" {
		t.Errorf("changed %q, held back %q", c, h)
	}
	wanted.TopicsWhitelist[0] = "b"
	if got.TopicsWhitelist[0] != "a" {
		t.Error("the result shares memory with what it was made of")
	}
}

// TestReloadIfSet: what is turned on or off stays as it is, other changes are taken.
func TestReloadIfSet(t *testing.T) {
	before := settings
	defer func() { settings = before }()
	settings = setting.NewTable("logd", envPrefix, []Setting{{
		Name: "delete-hook", Kind: Program, Change: AtReloadIfSet,
		Field: field(func(c *Config) *string { return &c.DeleteHook }, program),
	}})
	for _, test := range []struct {
		old, wanted, merged string
	}{
		{"a", "b", "b"}, {"", "b", ""}, {"a", "", "a"}, {"a", "a", "a"},
	} {
		old, wanted := Config{DeleteHook: test.old}, Config{DeleteHook: test.wanted}
		got, changed, heldBack := Reload(&old, &wanted, nil)
		if got.DeleteHook != test.merged {
			t.Errorf("%q to %q: %q, want %q", test.old, test.wanted, got.DeleteHook, test.merged)
		}
		if (len(changed) > 0) != (test.merged != test.old) || (len(heldBack) > 0) != (test.merged != test.wanted) {
			t.Errorf("%q to %q: %d changed, %d held back", test.old, test.wanted, len(changed), len(heldBack))
		}
	}
}

// TestReloadOfAll: every setting that a reload can change can be copied, from its
// default to itself and to another value.
func TestReloadOfAll(t *testing.T) {
	for _, s := range Settings() {
		old, wanted := Default(), Default()
		switch s.Kind {
		case Hosts, Names:
			mustSet(t, s, &wanted, "x")
		case Duration:
			mustSet(t, s, &wanted, "7h")
		case Size:
			mustSet(t, s, &wanted, "3GiB")
		case Number:
			mustSet(t, s, &wanted, "99")
		case Switch:
			mustSet(t, s, &wanted, "true")
		case Choice:
			c := s.Choices()
			mustSet(t, s, &wanted, c[len(c)-1])
		default:
			continue
		}
		got, changed, heldBack := Reload(&old, &wanted, nil)
		want := wanted
		if s.Change == AtStart {
			want = old
		}
		if !reflect.DeepEqual(got, want) || len(changed)+len(heldBack) != 1 {
			t.Errorf("%s: %d changed, %d held back, %s", s.Name, len(changed), len(heldBack), s.Value(&got))
		}
	}
}

func mustSet(t *testing.T, s Setting, c *Config, text string) {
	t.Helper()
	if s.Name == "election-timeout" {
		text = "7s"
	}
	if s.Name == "flush-interval" {
		text = "7m"
	}
	if s.Name == "batch-size" || s.Name == "uncompressed-size" {
		text = "2MiB"
	}
	if err := s.Set(c, text); err != nil {
		t.Fatal(err)
	}
}

package overrides

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/logd-dev/logd/internal/setting"
)

func mustRule(t interface{ Fatal(...any) }, key, value, pattern string) Rule {
	r, err := NewRule(key, value, pattern)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// server is what counts without rules.
func server() *Base {
	return &Base{Values: Values{Partitions: 8, PartitionSize: 1 << 20, BatchSize: 1 << 16}, Origins: Origins{Partitions: "flag --partitions"}}
}

// plainMatch is what a pattern means.
func plainMatch(p, n string) bool {
	switch {
	case p == "":
		return n == ""
	case p[0] == '*':
		return plainMatch(p[1:], n) || n != "" && plainMatch(p, n[1:])
	}
	return n != "" && p[0] == n[0] && plainMatch(p[1:], n[1:])
}

// plainStronger is the order of rules for the same key as the contract puts it, one
// comparison at a time.
func plainStronger(a, b Rule) bool {
	exactA, exactB := !strings.Contains(a.Pattern, "*"), !strings.Contains(b.Pattern, "*")
	literal := func(p string) int { return len(strings.ReplaceAll(p, "*", "")) }
	if exactA != exactB {
		return exactA
	}
	if literal(a.Pattern) != literal(b.Pattern) {
		return literal(a.Pattern) > literal(b.Pattern)
	}
	if a.Pattern != b.Pattern {
		return a.Pattern < b.Pattern
	}
	return a.File == ""
}

// TestModel: of any rules that which a plain list of them says counts, for each key by
// itself, after any changes.
func TestModel(t *testing.T) {
	values := map[Key][]string{
		Partitions: {"1", "2"}, PartitionSize: {"128B", "1MiB"}, RetentionAge: {"0s", "1h0m0s"}, RetentionBytes: {"0B", "1GiB"},
		BatchSize: {"128B", "64KiB", "1MiB"}, TopicWriteRate: {"0B", "1MiB"}, Durability: {"flushed", "synced"},
	}
	rapid.Check(t, func(t *rapid.T) {
		patterns := rapid.StringMatching(`[ab*]{1,4}`)
		keys := rapid.SampledFrom(Keys())
		type id struct {
			key     Key
			pattern string
		}
		commands, file := make(map[id]Rule), make(map[id]Rule)
		all := func() (rules []Rule) {
			for _, m := range []map[id]Rule{commands, file} {
				for _, r := range m {
					rules = append(rules, r)
				}
			}
			return rules
		}
		s := new(Set)
		base := server()
		base.Durability = rapid.SampledFrom([]Level{Flushed, Synced}).Draw(t, "durability")
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			k, p := keys.Draw(t, "key"), patterns.Draw(t, "pattern")
			r := mustRule(t, k.String(), rapid.SampledFrom(values[k]).Draw(t, "value"), p)
			var err error
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				s = s.Unset(k, p)
				delete(commands, id{k, p})
			case 1:
				r.File, r.Line = "f.toml", i+1
				file[id{k, p}] = r
				var rules []Rule
				for _, r := range file {
					rules = append(rules, r)
				}
				s, err = s.WithFile(rules)
			default:
				r.Millis, r.By = int64(i), "ops"
				commands[id{k, p}] = r
				s, err = s.Set(r)
			}
			if err != nil {
				t.Fatal(err)
			}
			topic := rapid.StringMatching(`[ab]{1,4}`).Draw(t, "topic")
			got := s.Of([]byte(topic), base)
			effective := s.Values([]byte(topic), base)
			for _, k := range Keys() {
				var best *Rule
				for _, r := range all() {
					if r.Key == k && plainMatch(r.Pattern, topic) && (best == nil || plainStronger(r, *best)) {
						best = &r
					}
				}
				want := Value{Key: k, Value: base.Text(k), Origin: base.origin(k)}
				above := best != nil && (k == BatchSize && best.Value == "1MiB" || k == Durability && best.Value == "flushed" && base.Durability == Synced)
				if best != nil && !above {
					want = Value{Key: k, Value: best.Value, Origin: best.Origin(), Own: true}
				}
				if got[k] != want {
					t.Fatalf("topic %s: %+v, want %+v", topic, got[k], want)
				}
				if text := effective.Text(k); text != want.Value {
					t.Fatalf("topic %s: %s is %s in force, and said to be %s", topic, k, text, want.Value)
				}
			}
			// What commands have set is the same after it was kept.
			back, err := Parse(Append(nil, s.Commands()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.Commands(), back); diff != "" {
				t.Fatal(diff)
			}
			if len(back) != len(commands) {
				t.Fatalf("%d rules of commands, want %d", len(back), len(commands))
			}
		}
	})
}

func TestOrigin(t *testing.T) {
	at := time.Date(2026, 11, 28, 19, 0, 0, 0, time.UTC).UnixMilli()
	for _, test := range []struct {
		rule Rule
		want string
	}{
		{Rule{Pattern: "orders", By: "ops", Millis: at}, "set by ops 2026-11-28T19:00:00Z"},
		{Rule{Pattern: "orders", Millis: at}, "set by anybody 2026-11-28T19:00:00Z"},
		{Rule{Pattern: "orders.*", By: "ops", Millis: at}, `set by ops 2026-11-28T19:00:00Z "orders.*"`},
		{Rule{Pattern: "orders.*", File: "logd.toml", Line: 31}, `logd.toml:31 [[topic]] "orders.*"`},
	} {
		if got := test.rule.Origin(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestNewRuleRefuses(t *testing.T) {
	for _, test := range []struct{ key, value, pattern, want string }{
		{"retention-agee", "1h", "a", `"retention-agee": topics have no such setting; did you mean retention-age?`},
		{"flush-batches", "1", "a", `"flush-batches": topics have no such setting`},
		{"partitions", "0", "a", `partitions = "0": out of range; allowed: 1 to 1000000`},
		{"partitions", "-", "a", `partitions = "-": `},
		{"durability", "replicated", "a", `durability = "replicated": unknown word; allowed: flushed or synced`},
		{"batch-size", "1 KiB", "a b", `batch-size: the pattern "a b" matches no topic`},
		{"partitions", "1", "__positions", "partitions: topics that begin with __ are the server's own"},
		{"partitions", "1", "__*", "partitions: topics that begin with __ are the server's own"},
		{"partitions", "1", ".a", "names do not begin with a dot"},
	} {
		_, err := NewRule(test.key, test.value, test.pattern)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s for %s: %v, want %q", test.key, test.value, test.pattern, err, test.want)
		}
	}
}

// TestFits: no topic takes batches that are larger than the server's, and what was set when
// the server took larger ones counts for nothing.
func TestFits(t *testing.T) {
	b := server()
	r := mustRule(t, "batch-size", "65537", "a")
	if err := r.Fits(b); err == nil || err.Error() != "larger than that of the server, which is 64KiB (default)" {
		t.Errorf("it fits: %v", err)
	}
	s, err := New([]Rule{r}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Of([]byte("a"), b)[BatchSize]; v != (Value{BatchSize, "64KiB", "default", false}) {
		t.Errorf("%+v", v)
	}
	r = mustRule(t, "batch-size", "64KiB", "a")
	if err := r.Fits(b); err != nil {
		t.Error(err)
	}
}

// TestFixed: in a cluster durability is what it is.
func TestFixed(t *testing.T) {
	b := server()
	b.Durability, b.Fixed, b.Origins[Durability] = Replicated, true, "the cluster"
	s, err := New([]Rule{mustRule(t, "durability", "synced", "a")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Of([]byte("a"), b)[Durability]; v != (Value{Durability, "replicated", "the cluster", false}) {
		t.Errorf("%+v", v)
	}
}

func TestServersOwn(t *testing.T) {
	s, err := New([]Rule{mustRule(t, "partitions", "1", "*")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Values([]byte("__positions"), server()); v.Partitions != 8 {
		t.Errorf("a topic of the server's own is kept by %+v", v)
	}
}

func TestParseRefuses(t *testing.T) {
	good := string(Append(nil, []Rule{mustRule(t, "partitions", "2", "a"), mustRule(t, "retention-age", "1h", "a")}))
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := Parse([]byte(good[:i])); err == nil {
			t.Errorf("%d bytes of the file are taken", i)
		}
		changed := []byte(good)
		changed[i] ^= 1
		if _, err := Parse(changed); err == nil {
			t.Errorf("a file is taken that differs in byte %d", i)
		}
	}
	for _, test := range []struct{ data, want string }{
		{"", "line 1: it does not begin with logd-settings 1"},
		{"logd-settings 2\n", "line 1: written by a newer version of logd"},
		{good + "x", "line 4: the file is not as it was written"},
		{"logd-settings 1\npartitions 2 a 0 -\npartitions 3 a 0 -\n", "line 3: not in order"},
		{"logd-settings 1\npartitions 2 a 0 a/b\n", "line 2: not the name of an identity"},
		{"logd-settings 1\npartitions 2 a 0\n", "line 2: not five words"},
		{"logd-settings 1\nretention-age 60m a 0 -\n", "line 2: not as it was written"},
	} {
		if _, err := Parse([]byte(test.data)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.data, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	r, _ := NewRule("retention-age", "720h", "orders.*")
	r.By, r.Millis = "ops", 1764356400000
	f.Add(Append(nil, []Rule{r}))
	f.Add(Append(nil, nil))
	f.Add([]byte("logd-settings 1\npartitions 2 a 0 -\nend 1 0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := Parse(data)
		if err != nil {
			return
		}
		if again := Append(nil, rules); string(again) != string(data) {
			t.Errorf("%q becomes %q", data, again)
		}
		if _, err := New(rules, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestFromFile(t *testing.T) {
	decode := func(text string) ([]Rule, []error) {
		parts, problems := setting.Decode("logd.toml", []byte(text), Table, map[string]setting.Words{Header: Table})
		rules, more := FromFile("logd.toml", parts[1:])
		return rules, append(problems, more...)
	}
	rules, problems := decode("[[topic]]\nmatch = \"orders.*\"\nretention-age = \"720h\"\nbatch-size = 1024\n\n[[topic]]\npartitions = 3\nmatch = \"a\"\ndurability = \"synced\"\n")
	want := []Rule{
		{Key: RetentionAge, Pattern: "orders.*", Value: "720h", File: "logd.toml", Line: 3},
		{Key: BatchSize, Pattern: "orders.*", Value: "1KiB", File: "logd.toml", Line: 4},
		{Key: Partitions, Pattern: "a", Value: "3", File: "logd.toml", Line: 7},
		{Key: Durability, Pattern: "a", Value: "synced", File: "logd.toml", Line: 9},
	}
	if diff := cmp.Diff(want, rules); diff != "" || problems != nil {
		t.Errorf("%v\n%s", problems, diff)
	}
	for _, test := range []struct{ text, want string }{
		{"[[topic]]\npartitions = 3\n", "logd.toml:1: [[topic]]: match is missing: for which topics?"},
		{"[[topic]]\nmatch = \"a\"\n[[topic]]\nmatch = \"a\"\n", `logd.toml:4: match = "a": there is a [[topic]] of that pattern on line 2`},
		{"[[topic]]\nmatch = \"a b\"\n", `logd.toml:2: match = "a b": the pattern "a b" matches no topic`},
		{"[[topic]]\nmatch = \"__positions\"\n", "the server's own"},
		{"[[topic]]\nmatch = \"a\"\npartitions = 0\n", "logd.toml:3: partitions = 0: out of range; allowed: 1 to 1000000"},
		{"[[topic]]\nmatch = \"a\"\nretention = \"1h\"\n", "logd.toml:3: retention = \"1h\": unknown key"},
		{"[[topic]]\nmatch = \"a\"\ndurability = \"replicated\"\n", `durability = "replicated": unknown word; allowed: flushed or synced`},
	} {
		_, problems := decode(test.text)
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.text, problems, test.want)
		}
	}
}

func TestTooMany(t *testing.T) {
	var rules []Rule
	for i := range MaxRules {
		rules = append(rules, mustRule(t, "partitions", "2", fmt.Sprintf("t%05d", i)))
	}
	s, err := New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set(mustRule(t, "partitions", "2", "u")); err != ErrTooMany {
		t.Errorf("one more: %v", err)
	}
	if s, err = s.Set(mustRule(t, "partitions", "3", "t00000")); err != nil || len(s.Commands()) != MaxRules {
		t.Errorf("in place of another: %v", err)
	}
	if b := Append(nil, s.Commands()); len(b) > MaxFile {
		t.Errorf("%d bytes", len(b))
	}
	if !slices.IsSortedFunc(s.Commands(), func(a, b Rule) int { return strings.Compare(a.Pattern, b.Pattern) }) {
		t.Error("not sorted")
	}
}

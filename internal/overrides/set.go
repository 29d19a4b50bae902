package overrides

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/pattern"
)

// MaxRules is how many rules commands may have set.
const MaxRules = 10_000

// ErrTooMany is a rule more than MaxRules.
var ErrTooMany = fmt.Errorf("there are %d settings of topics already, which is the most", MaxRules)

// Origins say in words where the values of a server are from, by key; where one is empty, it
// is the default.
type Origins [numKeys]string

// Base is what counts where no rule does: the values of the server.
type Base struct {
	Values
	Origins
	// Fixed is set for a server that goes by its own durability, whatever rules say.
	Fixed bool
}

// origin says where the server's value is from.
func (b *Base) origin(k Key) string {
	if b.Origins[k] == "" {
		return "default"
	}
	return b.Origins[k]
}

// Value is the value that counts for a topic.
type Value struct {
	Key    Key
	Value  string
	Origin string
	Own    bool // a rule's, not the server's
}

// Set is a set of rules. It is never changed; the zero Set, and nil, has no rules.
type Set struct {
	rules []compiled // the strongest first
}

type compiled struct {
	Rule
	pattern pattern.Pattern
	value   Values // of which that of the key counts
}

// New returns the set of valid rules, of which commands have set some, and a file has the
// others. Neither has two for the same key and pattern.
func New(commands, file []Rule) (*Set, error) {
	if len(commands) > MaxRules {
		return nil, ErrTooMany
	}
	s := &Set{}
	for _, rules := range [][]Rule{commands, file} {
		for _, r := range rules {
			c := compiled{Rule: r}
			var err error
			if c.pattern, err = pattern.Parse(r.Pattern, nil); err == nil {
				err = settings[r.Key].SetTexts(&c.value, []string{r.Value})
			}
			if err != nil {
				return nil, fmt.Errorf("%s for %s: %w", r.Key, strconv.Quote(r.Pattern), err)
			}
			s.rules = append(s.rules, c)
		}
	}
	slices.SortStableFunc(s.rules, func(a, b compiled) int {
		return cmp.Or(compare(&a, &b), cmp.Compare(a.Key, b.Key))
	})
	return s, nil
}

// compare is negative if a is stronger than b, which is for the same key.
func compare(a, b *compiled) int {
	return cmp.Or(
		compareBool(a.pattern.Exact(), b.pattern.Exact()),
		-cmp.Compare(a.pattern.Literal(), b.pattern.Literal()),
		cmp.Compare(a.Pattern, b.Pattern),
		compareBool(a.File == "", b.File == ""),
	)
}

// compareBool is negative if a alone is true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Set returns a set in which a rule counts, too, in place of that which a command has set
// for the same key and pattern.
func (s *Set) Set(r Rule) (*Set, error) {
	return New(append(s.without(r.Key, r.Pattern), r), s.file())
}

// Unset returns a set without the rule that a command has set for a key and a pattern.
func (s *Set) Unset(k Key, pattern string) *Set {
	n, err := New(s.without(k, pattern), s.file())
	if err != nil {
		panic(err) // they were rules of a set
	}
	return n
}

// WithFile returns a set with other rules of the file.
func (s *Set) WithFile(file []Rule) (*Set, error) { return New(s.Commands(), file) }

func (s *Set) without(k Key, pattern string) []Rule {
	return slices.DeleteFunc(s.Commands(), func(r Rule) bool { return r.Key == k && r.Pattern == pattern })
}

// Commands returns the rules that commands have set, by pattern and key.
func (s *Set) Commands() (rules []Rule) {
	for i := range s.all() {
		if s.rules[i].File == "" {
			rules = append(rules, s.rules[i].Rule)
		}
	}
	slices.SortFunc(rules, func(a, b Rule) int { return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Key, b.Key)) })
	return rules
}

func (s *Set) file() (rules []Rule) {
	for i := range s.all() {
		if s.rules[i].File != "" {
			rules = append(rules, s.rules[i].Rule)
		}
	}
	return rules
}

func (s *Set) all() []compiled {
	if s == nil {
		return nil
	}
	return s.rules
}

// Empty reports whether there are no rules.
func (s *Set) Empty() bool { return len(s.all()) == 0 }

// strongest returns the rules that count for a topic; nil where none does.
func (s *Set) strongest(topic []byte) (best [numKeys]*compiled) {
	rules := s.all()
	for i := range rules {
		if r := &rules[i]; best[r.Key] == nil && r.pattern.Match(topic) {
			best[r.Key] = r
		}
	}
	return best
}

// counts reports whether a rule that is the strongest one counts against the server's
// value: durability is never lowered, and no batch is larger than the server takes.
func counts(r *compiled, b *Base) bool {
	switch r.Key {
	case BatchSize:
		return r.value.BatchSize <= b.BatchSize
	case Durability:
		return !b.Fixed && r.value.Durability >= b.Durability
	}
	return true
}

// Values returns the values that count for a topic.
func (s *Set) Values(topic []byte, b *Base) Values {
	v := b.Values
	for k, r := range s.strongest(topic) {
		if r != nil && counts(r, b) {
			v.take(Key(k), &r.value)
		}
	}
	return v
}

// Of returns the values that count for a topic, in the order of keys, and where they are
// from.
func (s *Set) Of(topic []byte, b *Base) []Value {
	list := make([]Value, numKeys)
	for k, r := range s.strongest(topic) {
		v := &list[k]
		v.Key = Key(k)
		if r != nil && counts(r, b) {
			v.Value, v.Origin, v.Own = r.Value, r.Origin(), true
		} else {
			v.Value, v.Origin = b.Text(v.Key), b.origin(v.Key)
		}
	}
	return list
}

// LeastAge returns the least retention-age of any rule that has one, or 0.
func (s *Set) LeastAge() (age time.Duration) {
	for i := range s.all() {
		if a := s.rules[i].value.RetentionAge; a > 0 && (age == 0 || a < age) {
			age = a
		}
	}
	return age
}

// LeastPartition returns the least partition-size of any rule, or most if that is less.
func (s *Set) LeastPartition(most int64) int64 {
	for i := range s.all() {
		if r := &s.rules[i]; r.Key == PartitionSize {
			most = min(most, r.value.PartitionSize)
		}
	}
	return most
}

// Has reports whether there is a rule for a key.
func (s *Set) Has(k Key) bool {
	return slices.ContainsFunc(s.all(), func(r compiled) bool { return r.Key == k })
}

// Fits returns why the rule can't be beside the server's values, or nil.
func (r *Rule) Fits(b *Base) error {
	if r.Key != BatchSize {
		return nil
	}
	var v Values
	if err := settings[r.Key].SetTexts(&v, []string{r.Value}); err != nil {
		return err
	}
	if v.BatchSize > b.BatchSize {
		return errors.New("larger than that of the server, which is " + b.Text(BatchSize) + " (" + b.origin(BatchSize) + ")")
	}
	return nil
}

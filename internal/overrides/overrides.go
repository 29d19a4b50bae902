// Package overrides has the settings of single topics: which there are, what they are for,
// and which of several counts.
//
// A [Rule] gives one setting a value for the topics of a pattern. It was set by a command,
// or stands in the configuration file under [[topic]]. A [Set] is all rules that there are,
// and [Set.Of] the value of each setting for one topic:
//
//	s, err := overrides.New(commands, file)
//	for _, v := range s.Of([]byte("orders.eu"), server) {
//		fmt.Println(v.Key, v.Value, v.Origin)
//	}
//
// For each setting by itself the strongest rule counts: one for the name alone, then that
// whose pattern has more literal bytes, then that with the bytewise smaller pattern, and
// of equal patterns the command's before the file's. Below all of them is the value of the
// server, which is a [Base].
//
// [Append] and [Parse] are the file in which a server keeps what commands have set. The
// package opens no file, and knows no topics but by their names.
package overrides

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/pattern"
	"github.com/logd-dev/logd/internal/setting"
)

// Key is a setting of topics.
type Key uint8

// The settings, in the order in which they are shown.
const (
	Partitions Key = iota
	PartitionSize
	RetentionAge
	RetentionBytes
	BatchSize
	TopicWriteRate
	Durability
	numKeys
)

// String returns the name of the setting.
func (k Key) String() string {
	return [...]string{"partitions", "partition-size", "retention-age", "retention-bytes", "batch-size", "topic-write-rate", "durability"}[k]
}

// Removes reports whether another value of the setting may have retention remove more.
func (k Key) Removes() bool { return k == Partitions || k == RetentionAge || k == RetentionBytes }

// Keys are all settings of topics.
func Keys() []Key {
	return []Key{Partitions, PartitionSize, RetentionAge, RetentionBytes, BatchSize, TopicWriteRate, Durability}
}

// Names are their names.
func Names() (names []string) {
	for _, k := range Keys() {
		names = append(names, k.String())
	}
	return names
}

// Lookup returns the setting with that name, and whether there is one.
func Lookup(name string) (Key, bool) {
	i := slices.Index(Names(), name)
	return Key(max(i, 0)), i >= 0
}

// Values are the values of all settings, for one topic.
type Values struct {
	Partitions     int
	PartitionSize  int64
	RetentionAge   time.Duration // 0 for no limit
	RetentionBytes int64         // 0 for no limit
	BatchSize      int64
	TopicWriteRate int64 // 0 for no limit
	Durability     Level
}

// Level is what an acknowledged batch survives.
type Level uint8

// The levels, the weakest first. That of a cluster is Replicated, and can't be set.
const (
	Flushed    Level = iota // a crash of the server
	Synced                  // a power cut
	Replicated              // the loss of a minority of the members
)

// String returns the name of the level.
func (l Level) String() string { return [...]string{"flushed", "synced", "replicated"}[l] }

// What values there are: those of the server's settings of the same names, too.
var (
	PartitionsValues     = setting.Numbers(setting.Bounds[int]{Min: 1, Max: 1_000_000})
	PartitionSizeValues  = setting.Sizes(setting.Bounds[int64]{Min: 128, Max: 1 << 40})
	RetentionAgeValues   = setting.Durations(setting.Bounds[time.Duration]{Min: time.Millisecond, Max: 100 * 365 * 24 * time.Hour, Zero: "off"})
	RetentionBytesValues = setting.Sizes(setting.Bounds[int64]{Min: 128, Max: 1 << 50, Zero: "off"})
	BatchSizeValues      = setting.Sizes(setting.Bounds[int64]{Min: 128, Max: 1 << 30})
	TopicWriteRateValues = setting.Sizes(setting.Bounds[int64]{Min: 1024, Max: 1 << 40, Zero: "no limit"})
	durabilityValues     = setting.Choices([]string{Flushed.String(), Synced.String()}, []Level{Flushed, Synced})
)

// table has the settings in the order of their keys.
var table = setting.NewTable("logd", "", []setting.Setting[Values]{
	{Name: "partitions", Kind: setting.Number, Default: "8", Field: setting.One(func(v *Values) *int { return &v.Partitions }, PartitionsValues)},
	{Name: "partition-size", Kind: setting.Size, Default: "2000MiB", Field: setting.One(func(v *Values) *int64 { return &v.PartitionSize }, PartitionSizeValues)},
	{Name: "retention-age", Kind: setting.Duration, Default: "0s", Field: setting.One(func(v *Values) *time.Duration { return &v.RetentionAge }, RetentionAgeValues)},
	{Name: "retention-bytes", Kind: setting.Size, Default: "0", Field: setting.One(func(v *Values) *int64 { return &v.RetentionBytes }, RetentionBytesValues)},
	{Name: "batch-size", Kind: setting.Size, Default: "64KiB", Field: setting.One(func(v *Values) *int64 { return &v.BatchSize }, BatchSizeValues)},
	{Name: "topic-write-rate", Kind: setting.Size, Default: "0", Field: setting.One(func(v *Values) *int64 { return &v.TopicWriteRate }, TopicWriteRateValues)},
	{Name: "durability", Kind: setting.Choice, Default: "flushed", Field: setting.One(func(v *Values) *Level { return &v.Durability }, durabilityValues)},
})

var settings = table.All()

// Text returns the value of a setting as it is written.
func (v *Values) Text(k Key) string {
	if k == Durability {
		return v.Durability.String() // also that which can't be set
	}
	return settings[k].Value(v)
}

// take gives v the value that another one has.
func (v *Values) take(k Key, from *Values) {
	switch k {
	case Partitions:
		v.Partitions = from.Partitions
	case PartitionSize:
		v.PartitionSize = from.PartitionSize
	case RetentionAge:
		v.RetentionAge = from.RetentionAge
	case RetentionBytes:
		v.RetentionBytes = from.RetentionBytes
	case BatchSize:
		v.BatchSize = from.BatchSize
	case TopicWriteRate:
		v.TopicWriteRate = from.TopicWriteRate
	case Durability:
		v.Durability = from.Durability
	}
}

// Rule gives a setting a value for the topics of a pattern.
type Rule struct {
	Key     Key
	Pattern string
	Value   string // as Text has it

	// Of a rule that a command has set: who, or nothing, and when, in milliseconds since
	// 1970.
	By     string
	Millis int64

	// Of a rule that stands in a file: which, and where. File is empty of others.
	File string
	Line int
}

// Origin says in words where the value is from.
func (r *Rule) Origin() string {
	if r.File != "" {
		return r.File + ":" + strconv.Itoa(r.Line) + " [[topic]] " + strconv.Quote(r.Pattern)
	}
	words := "set by anybody"
	if r.By != "" {
		words = "set by " + r.By
	}
	words += " " + time.UnixMilli(r.Millis).UTC().Format(time.RFC3339)
	if strings.Contains(r.Pattern, "*") {
		words += " " + strconv.Quote(r.Pattern)
	}
	return words
}

// Error is why a rule is refused.
type Error struct {
	Key   string
	Value string // quoted; empty if that is not what is wrong
	Why   string
}

// Error returns one line.
func (e *Error) Error() string {
	if e.Value == "" {
		return e.Key + ": " + e.Why
	}
	return e.Key + " = " + e.Value + ": " + e.Why
}

// NewRule returns the rule that gives a setting a value, which is written as in the
// environment. The error is an *Error.
func NewRule(key, value, pattern string) (Rule, error) {
	k, err := parseKey(key)
	if err != nil {
		return Rule{}, err
	}
	if err := CheckPattern(pattern); err != nil {
		return Rule{}, &Error{Key: key, Why: err.Error()}
	}
	var v Values
	if err := settings[k].SetTexts(&v, []string{value}); err != nil {
		return Rule{}, &Error{Key: key, Value: strconv.Quote(setting.Shorten(value)), Why: err.Error() + "; allowed: " + settings[k].Allowed()}
	}
	return Rule{Key: k, Pattern: pattern, Value: v.Text(k)}, nil
}

// Unset is the value that takes a setting away.
const Unset = "-"

// Change is NewRule of what a command says, of which Unset is the value that takes away: the
// rule has no value then.
func Change(key, value, pattern string) (Rule, error) {
	if value != Unset {
		return NewRule(key, value, pattern)
	}
	k, err := parseKey(key)
	if err == nil {
		if why := CheckPattern(pattern); why != nil {
			err = &Error{Key: key, Why: why.Error()}
		}
	}
	return Rule{Key: k, Pattern: pattern}, err
}

// Read returns values of which that of the key is the one that text says.
func Read(k Key, text string) (v Values, err error) {
	err = settings[k].SetTexts(&v, []string{text})
	return v, err
}

// parseKey returns the setting of that name.
func parseKey(key string) (Key, error) {
	k, ok := Lookup(key)
	if ok {
		return k, nil
	}
	why := "topics have no such setting. "
	if near := table.Nearest(key); near != "" {
		why = "topics have no such setting; did you mean " + near + "? "
	}
	return 0, &Error{Key: setting.Shorten(strconv.Quote(key)), Why: why + "There are " + strings.Join(Names(), ", ")}
}

// CheckPattern returns why there are no settings for such topics, or nil.
func CheckPattern(text string) error {
	p, err := pattern.Parse(text, func(s string) string { return strconv.Quote(setting.Shorten(s)) })
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(text, "__"):
		return errors.New("topics that begin with __ are the server's own: no setting is about them")
	case p.Exact() && strings.HasPrefix(text, "."):
		return fmt.Errorf("the pattern %s matches no topic: names do not begin with a dot", strconv.Quote(setting.Shorten(text)))
	}
	return nil
}

// Exact reports whether a valid pattern is the name of one topic.
func Exact(pattern string) bool { return !strings.Contains(pattern, "*") }

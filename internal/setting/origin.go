package setting

import (
	"iter"
	"maps"
	"strconv"
	"strings"
)

// Source is a kind of place that a setting's value can come from. A greater
// one is stronger.
type Source int

// The sources, weakest first.
const (
	FromDefault Source = iota
	FromFile
	FromEnvironment
	FromFlag
	FromSocket // that the process was started with
	FromArgument
)

// Origin is the place that a setting's value came from.
type Origin struct {
	Source Source
	// Name is the file's path, the environment variable's name, or the flag's
	// name without its dashes; empty for all others.
	Name string
	// Line is the line in a file, counted from 1; 0 for the file as a whole.
	Line int
}

// String returns the origin as users see it: "default", "logd.toml:3",
// "environment LOGD_HOST", "flag --host", "inherited socket" or "command line".
func (o Origin) String() string {
	switch o.Source {
	case FromFile:
		if o.Line == 0 {
			return o.Name
		}
		return o.Name + ":" + strconv.Itoa(o.Line)
	case FromEnvironment:
		return "environment " + o.Name
	case FromFlag:
		return "flag --" + o.Name
	case FromSocket:
		return "inherited socket"
	case FromArgument:
		return "command line"
	default:
		return "default"
	}
}

// Origins tells where each setting's value came from. In the zero Origins all
// are defaults.
type Origins struct {
	of   map[string]Origin
	file string
}

// Known reports whether these are origins of settings that were loaded.
func (o Origins) Known() bool { return o.of != nil }

// All returns the names of settings that have an origin, and it.
func (o Origins) All() iter.Seq2[string, Origin] { return maps.All(o.of) }

// Set says where a setting's value came from.
func (o *Origins) Set(name string, from Origin) {
	if o.of == nil {
		o.of = make(map[string]Origin)
	}
	o.of[name] = from
}

// Of returns the origin of the setting with the given name.
func (o Origins) Of(name string) Origin { return o.of[name] }

// File returns the path of the configuration file that was read, or "" if
// there was none.
func (o Origins) File() string { return o.file }

// Error is one thing that is wrong with the settings.
type Error struct {
	Origin  Origin // where the value came from
	Key     string // the setting's name, or the unknown key
	Value   string // as it was written, quoted where it was text; empty if there was none
	Reason  string // what is wrong with it
	Allowed string // what would be right; empty where nothing would
}

// Error returns one line that names the origin, the key, the value, what is
// wrong and what is allowed.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Origin.Source != FromDefault {
		b.WriteString(e.Origin.String() + ": ")
	}
	b.WriteString(e.Key)
	if e.Value != "" {
		b.WriteString(" = " + e.Value)
	}
	b.WriteString(": " + e.Reason)
	if e.Allowed != "" {
		b.WriteString("; allowed: " + e.Allowed)
	}
	return b.String()
}

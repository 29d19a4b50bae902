package write

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// fate is what became of a message that was sent and not refused.
type fate uint8

const (
	stored fate = iota
	unknown
	waiting // in the backlog
)

// account says what became of the messages, by their numbers, from 1 on. What
// it does not name is not stored.
type account struct {
	spans []span
}

type span struct {
	first, last int64
	fate        fate
}

// add accounts for some messages.
func (a *account) add(first, last int64, f fate) {
	if n := len(a.spans); n > 0 && a.spans[n-1].fate == f && a.spans[n-1].last+1 == first {
		a.spans[n-1].last = last
		return
	}
	a.spans = append(a.spans, span{first, last, f})
}

// report says what became of the messages, each called what ("line").
func (a *account) report(what string) string {
	if len(a.spans) == 0 {
		return "no " + what + " is stored"
	}
	// A batch that had to wait may have been stored after later ones.
	spans := slices.Clone(a.spans)
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	a.spans = nil
	for _, s := range spans {
		a.add(s.first, s.last, s.fate)
	}
	var b strings.Builder
	for _, s := range a.spans {
		verb := "are stored"
		if s.first == s.last {
			fmt.Fprintf(&b, "%s %d ", what, s.first)
			verb = "is stored"
		} else {
			fmt.Fprintf(&b, "%ss %d to %d ", what, s.first, s.last)
		}
		switch s.fate {
		case unknown:
			verb = "may be stored or not"
		case waiting:
			verb = strings.Replace(verb, "stored", "in the backlog", 1)
		}
		b.WriteString(verb + "; ")
	}
	b.WriteString("no other " + what + " is stored")
	return b.String()
}

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// IsGlob reports whether a word names topics by a pattern: no topic's name has a star.
func IsGlob(word string) bool { return strings.Contains(word, "*") }

// Glob reports whether a topic's name matches a pattern, in which a star stands for any
// characters, also none, and all else for itself. The server's own topics, whose names
// begin with two underscores, are matched only by a pattern that begins so.
func Glob(pattern, name string) bool {
	if strings.HasPrefix(name, "__") && !strings.HasPrefix(pattern, "__") {
		return false
	}
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	rest, ok := strings.CutPrefix(name, first)
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, last)
}

// Matching returns those of the server's topics whose names match one of the words, in
// the server's order. A word that is no pattern matches its own name, also if there is no such topic.
func Matching(ctx context.Context, client *logd.Client, words []string) (names []string, err error) {
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	var all []string
	for _, word := range words {
		if !IsGlob(word) {
			add(word)
			continue
		}
		if all == nil {
			if all, err = client.Topics(ctx); err != nil {
				return nil, err
			}
		}
		for _, name := range all {
			if Glob(word, name) {
				add(name)
			}
		}
	}
	return names, nil
}

// NoMatch is the error if no topic matches.
func NoMatch(pattern string) error {
	return exit.With(exit.NotFound, fmt.Errorf("no topic matches %q", pattern))
}

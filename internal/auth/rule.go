package auth

import (
	"errors"
	"fmt"
	"strings"

	"github.com/logd-dev/logd/internal/pattern"
)

// verbs are the words that rules begin with, a bit each.
var verbs = map[string]uint8{"read": 1, "write": 2, "create": 4, "admin": 8, "monitor": 16, "position": 32}

const (
	monitor  = "monitor"  // is about the server alone
	position = "position" // may be about some consumers alone
)

// rule allows verbs for the topics of a pattern.
type rule struct {
	text      string
	verbs     uint8
	pattern   pattern.Pattern
	consumers *pattern.Pattern // of position; nil: all
}

// parseRule parses VERB[,VERB…] PATTERN, or position PATTERN/PATTERN, of topics and
// consumers.
func parseRule(text string) (r rule, err error) {
	words, of, ok := strings.Cut(text, " ")
	if !ok {
		return r, errors.New("not VERB[,VERB…] PATTERN")
	}
	for word := range strings.SplitSeq(words, ",") {
		v, ok := verbs[word]
		switch {
		case !ok:
			return r, fmt.Errorf("no verb is %s", quote(word))
		case r.verbs&v != 0:
			return r, fmt.Errorf("%s twice", word)
		}
		r.verbs |= v
	}
	r.text = text
	if topics, consumers, ok := strings.Cut(of, "/"); ok {
		if r.verbs != verbs[position] {
			return r, errors.New("a pattern of consumers, behind a /, is for the verb position alone")
		}
		c, err := pattern.Parse(consumers, quote)
		if err != nil {
			return r, fmt.Errorf("consumers: %w", err)
		}
		c = c.OfAnyName()
		of, r.consumers = topics, &c
	}
	if r.pattern, err = pattern.Parse(of, quote); err != nil {
		return r, err
	}
	if r.verbs&verbs[monitor] != 0 && !r.pattern.All() {
		return r, errors.New("monitor is about the server as a whole: its pattern is *")
	}
	return r, nil
}

package cli

import (
	"fmt"
	"slices"
	"strings"
)

// didYouMean returns the end of a message about an unknown word: which known
// one it may be meant for, or nothing.
func didYouMean(word string, known []string) string {
	return meant(nearest(word, known))
}

// meant is didYouMean for a word that is found already, or empty.
func meant(word string) string {
	if word == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", word)
}

// nearest returns the known word that is most like the given one, and none if
// no word is like it: of the same letters but for a third of them, or beginning
// with all of them.
func nearest(word string, known []string) string {
	best, bestCost := "", min((len(word)+2)/3, len(word)-1)+1
	low := strings.ToLower(word)
	for _, k := range known {
		if cost := distance(low, strings.ToLower(k), bestCost); cost < bestCost {
			best, bestCost = k, cost
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	begins := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(strings.ToLower(k), low) })
	if begins < 0 {
		return ""
	}
	return known[begins]
}

// distance returns how many bytes to insert, leave out, replace or swap with
// their neighbour make b out of a, or enough if it is not less.
func distance(a, b string, enough int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= enough {
		return enough
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			other := 1
			if a[i-1] == b[j-1] {
				other = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+other)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], enough)
}

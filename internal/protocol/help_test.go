package protocol_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/protocol"
)

// TestHelp: HELP names every command with the very words that are parsed.
func TestHelp(t *testing.T) {
	seen := make(map[string]bool)
	for line := range strings.SplitSeq(strings.TrimSuffix(string(protocol.AppendHelp(nil)), "\r\n"), "\r\n") {
		form, meaning, ok := strings.Cut(line, "  ")
		if !ok || meaning == "" || strings.ContainsAny(line, "\r\n\t") {
			t.Errorf("%q: not words, two spaces and a meaning", line)
			continue
		}
		words := strings.Split(form, " ")
		want, ok := naiveCommands[words[0]]
		if !ok || seen[words[0]] {
			t.Errorf("%q: no command, or there twice", line)
		}
		seen[words[0]] = true
		var positional int
		var keys []string
		var alternatives []string
		for _, word := range words[1:] {
			if strings.Contains(word, "=") {
				alternatives = append(alternatives, strings.Split(word, "|")...)
			} else {
				alternatives = append(alternatives, word)
			}
		}
		for _, word := range alternatives {
			if key := regexp.MustCompile(`^\[?([a-z-]+)=`).FindStringSubmatch(word); key != nil {
				keys = append(keys, key[1])
			} else if len(keys) == 0 {
				positional++
			} else {
				t.Errorf("%q: a word behind a key", line)
			}
		}
		if positional != len(want.words) || strings.Join(keys, " ") != strings.Join(want.keys, " ") {
			t.Errorf("%q: %d words and keys %q, want %q and %q", line, positional, keys, want.words, want.keys)
		}
	}
	for name := range naiveCommands {
		if !seen[name] {
			t.Errorf("HELP does not have %s", name)
		}
	}
	for c := range protocol.NumCommands {
		if name := protocol.Command(c).String(); c > 0 && !seen[name] {
			t.Errorf("HELP does not have %s", name)
		}
	}
}

// TestHint: lines that only a person or another protocol sends are explained.
func TestHint(t *testing.T) {
	for line, want := range map[string]string{
		"ping":               "commands are in upper case: PING",
		"help":               "commands are in upper case: HELP",
		"info":               "commands are in upper case: INFO <topic> [fresh=1] [settings=1]",
		"batch":              "commands are in upper case: BATCH <size> <topic> <crc> <messages> [codec=<name>] [pid=<id> seq=<n>]",
		"hello":              "commands are in upper case: HELLO <version> [codecs=<a,b>] [client=<word>]",
		"quit":               "HELP lists the commands, CLOSE ends the connection",
		"GET / HTTP/1.1":     "",
		"POST /log HTTP/1.0": "",

		// What a program may send is answered as it always was.
		"":              "",
		"Ping":          "",
		"ping x":        "",
		"read x 0 1":    "",
		"batch 9 t 0 1": "",
		"PONG":          "",
		"MSG 5":         "",
		"pingx":         "",
		"HTTP/1.1":      "",
		"Host: x":       "",
		"PING":          "",
		"\x16\x03\x01":  "",
	} {
		if got := protocol.Hint([]byte(line)); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

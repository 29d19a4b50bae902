package overrides

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// File is the name of the file in a work directory in which a server keeps what commands
// have set. No topic can have it.
const File = ".settings"

// MaxFile is the size of the largest such file, in bytes.
const MaxFile = 8 << 20

// header begins the file. Its number is another one when rules are written otherwise.
const header = "logd-settings 1\n"

// Append appends the contents of the file that has these rules, in the order that
// Set.Commands returns them in:
//
//	logd-settings 1
//	<key> <value> <pattern> <ms> <by>
//	end <rules> <CRC-32 of all before>
func Append(dst []byte, rules []Rule) []byte {
	from := len(dst)
	dst = append(dst, header...)
	for i := range rules {
		dst = append(rules[i].append(dst), '\n')
	}
	sum := crc32.ChecksumIEEE(dst[from:])
	return fmt.Appendf(dst, "end %d %d\n", len(rules), sum)
}

// Parse parses the contents of the file. It refuses all that Append does not write: what
// is not whole, or was changed by anybody else, might have the wrong data removed.
func Parse(data []byte) (rules []Rule, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(header))
	if !ok {
		if bytes.HasPrefix(data, []byte("logd-settings ")) {
			return nil, errors.New("line 1: written by a newer version of logd")
		}
		return nil, errors.New("line 1: it does not begin with " + strings.TrimSpace(header))
	}
	for line := 2; ; line++ {
		text, more, ok := bytes.Cut(rest, []byte("\n"))
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: the file ends in it", line)
		case bytes.HasPrefix(text, []byte("end ")):
			sum := crc32.ChecksumIEEE(data[:len(data)-len(rest)])
			if want := fmt.Sprintf("end %d %d", len(rules), sum); string(text) != want || len(more) > 0 {
				return nil, fmt.Errorf("line %d: the file is not as it was written: the number of lines or the checksum is wrong", line)
			}
			return rules, nil
		case len(rules) == MaxRules:
			return nil, fmt.Errorf("line %d: more than %d settings", line, MaxRules)
		}
		r, err := ParseRule(string(text))
		if err == nil && len(rules) > 0 && !before(&rules[len(rules)-1], &r) {
			err = errors.New("not in order")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		rules, rest = append(rules, r), more
	}
}

// before reports whether two rules are in the order of the file.
func before(a, b *Rule) bool {
	return a.Pattern < b.Pattern || a.Pattern == b.Pattern && a.Key < b.Key
}

// Text returns a rule that a command has set as a line, without its end.
func (r *Rule) Text() string { return string(r.append(nil)) }

func (r *Rule) append(dst []byte) []byte {
	by := r.By
	if by == "" {
		by = "-"
	}
	return fmt.Appendf(dst, "%s %s %s %d %s", r.Key, r.Value, r.Pattern, r.Millis, by)
}

// ParseRule parses what Text has made of a rule.
func ParseRule(line string) (Rule, error) {
	words := strings.Split(line, " ")
	if len(words) != 5 {
		return Rule{}, errors.New("not five words")
	}
	r, err := NewRule(words[0], words[1], words[2])
	if err != nil {
		return Rule{}, err
	}
	if r.Millis, err = strconv.ParseInt(words[3], 10, 64); err != nil || r.Millis < 0 {
		return Rule{}, errors.New("not a time")
	}
	if r.By = words[4]; r.By == "-" {
		r.By = ""
	} else if !ValidBy(r.By) {
		return Rule{}, errors.New("not the name of an identity")
	}
	if string(r.append(nil)) != line {
		return Rule{}, errors.New("not as it was written")
	}
	return r, nil
}

// ValidBy reports whether a rule can be set by somebody of that name.
func ValidBy(name string) bool {
	if len(name) == 0 || len(name) > 64 || name == "-" {
		return false
	}
	for _, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

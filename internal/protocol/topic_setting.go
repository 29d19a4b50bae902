package protocol

import (
	"bytes"
	"strings"
)

// TopicSetting is a setting of a topic, as INFO tells it: the value that counts, and in words
// where it is from.
type TopicSetting struct{ Key, Value, Origin string }

// settingPrefix begins the names of the lines of INFO that tell settings: SettingRetentionAge
// is that of retention-age.
const settingPrefix = "Setting"

// settingLine returns the name of the line of a setting.
func settingLine(key string) string {
	b := []byte(settingPrefix)
	for word := range strings.SplitSeq(key, "-") {
		if word != "" {
			b = append(append(b, word[0]&^0x20), word[1:]...)
		}
	}
	return string(b)
}

// settingOfLine returns the setting whose line has the name, and whether it may be one.
func settingOfLine(name string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(name, settingPrefix)
	var b []byte
	for i := range len(rest) {
		c := rest[i]
		if 'A' <= c && c <= 'Z' {
			if c |= 0x20; i > 0 {
				b = append(b, '-')
			}
		}
		b = append(b, c)
	}
	return string(b), ok && len(b) > 0 && settingLine(string(b)) == name
}

// Own reports whether the value is one for topics, not the server's for all.
func (s *TopicSetting) Own() bool {
	return strings.HasPrefix(s.Origin, "set by ") || strings.Contains(s.Origin, " [[topic]] ")
}

// OwnSettings returns how many of a topic's settings are its own.
func (in *TopicInfo) OwnSettings() (n int) {
	for i := range in.Settings {
		if in.Settings[i].Own() {
			n++
		}
	}
	return n
}

// Setting returns the value of a setting of a topic; empty if the server does not say.
func (in *TopicInfo) Setting(key string) string {
	for i := range in.Settings {
		if in.Settings[i].Key == key {
			return in.Settings[i].Value
		}
	}
	return ""
}

// parseSettingArgs parses what may follow the value of SETTING.
func parseSettingArgs(w words, req *Request) bool {
	for w.more {
		word, _ := w.next()
		key, value, _ := bytes.Cut(word, []byte("="))
		switch {
		case string(key) == "topic" && req.Topic == nil && validPattern(value):
			req.Topic = value
		case string(word) == "dry-run=1" && !req.Try:
			req.Try = true
		default:
			return false
		}
	}
	return !req.Try || req.Topic != nil
}

// validPattern reports whether a word may be a pattern of topics' names.
func validPattern(word []byte) bool {
	return validWord(bytes.ReplaceAll(word, []byte("*"), []byte("x")), maxPattern)
}

// maxPattern is the length of the longest pattern of topics' names.
const maxPattern = 255

// parseInfoArgs parses what may follow the topic of INFO.
func parseInfoArgs(w words, req *Request) bool {
	for w.more {
		word, _ := w.next()
		switch {
		case string(word) == "fresh=1" && !req.Fresh:
			req.Fresh = true
		case string(word) == "settings=1" && !req.All:
			req.All = true
		default:
			return false
		}
	}
	return true
}

// TriedSetting is a line of the answer to SETTING with dry-run=1: a topic that would go by
// another value of the setting, which one, and by which it goes.
type TriedSetting struct{ Topic, Value, Was string }

// AppendTried appends a line of that answer.
func AppendTried(dst []byte, s *TriedSetting) []byte {
	p := pairs{dst}
	p.text("topic", s.Topic)
	p.text("value", s.Value)
	p.text("was", s.Was)
	return p.end()
}

// ParseTried parses the answer.
func ParseTried(body []byte) (list []TriedSetting, err error) {
	for line := range bodyLines(body) {
		var s TriedSetting
		if err := parsePairs(line, map[string]any{"topic": &s.Topic, "value": &s.Value, "was": &s.Was}); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

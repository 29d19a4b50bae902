package inputs

import (
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// header reads what most messages of RFC 5424 begin with, all there is in it but
// structured data, and reports whether m is such a message. It takes no more than the
// parser does, and finds the same; but it makes no object for each message, and does not
// read what is behind, and that is most of what a message costs.
func (p *parser) header(m *feed.Message) bool {
	b := m.Body
	priority, n := 0, 1
	for ; n < len(b) && n < 4 && b[n] >= '0' && b[n] <= '9'; n++ {
		priority = 10*priority + int(b[n]-'0')
	}
	if n == 1 || priority > 191 || b[1] == '0' && n > 2 || len(b) < n+3 || b[0] != '<' || b[n] != '>' || b[n+1] != '1' || b[n+2] != ' ' {
		return false
	}
	var stamp, app, procID []byte
	b = b[n+3:]
	for _, f := range [...]struct {
		text *[]byte
		most int
	}{{&stamp, 32}, {nil, 255}, {&app, 48}, {&procID, 128}, {nil, 32}} {
		n := 0
		for n < len(b) && b[n] > ' ' && b[n] <= '~' {
			n++
		}
		if n == 0 || n > f.most || n == len(b) || b[n] != ' ' {
			return false
		}
		if f.text != nil {
			*f.text = b[:n]
		}
		b = b[n+1:]
	}
	if len(b) == 0 || b[0] != '-' || len(b) > 1 && b[1] != ' ' {
		return false
	}
	if string(stamp) != "-" {
		t, ok := parseStamp(stamp)
		if !ok {
			return false
		}
		m.Sent = t
	}
	m.Facility, m.Severity = FacilityName(priority/8), SeverityName(priority%8)
	m.App, m.ProcID = p.app.of(app), p.procID.of(procID)
	return true
}

// recent is the text that a field had last: mostly it is that of the next one, too.
type recent string

// of returns a field as a string, empty for none.
func (r *recent) of(field []byte) string {
	if string(field) == "-" {
		return ""
	}
	if string(field) != string(*r) {
		*r = recent(field)
	}
	return string(*r)
}

// parseStamp reads a time as RFC 5424 has it, of a year after 0.
func parseStamp(b []byte) (t time.Time, ok bool) {
	const form = "0000-00-00T00:00:00"
	if len(b) <= len(form) {
		return t, false
	}
	ok = true
	number := func(at, n, least, most int) (v int) {
		for _, c := range b[at : at+n] {
			ok = ok && c >= '0' && c <= '9'
			v = 10*v + int(c-'0')
		}
		ok = ok && v >= least && v <= most
		return v
	}
	year, month, day := number(0, 4, 1, 9999), number(5, 2, 1, 12), number(8, 2, 1, 31)
	hour, minute, second := number(11, 2, 0, 23), number(14, 2, 0, 59), number(17, 2, 0, 59)
	ok = ok && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':'
	nanoseconds, digits := 0, 0
	rest := b[len(form):]
	if rest[0] == '.' {
		for rest = rest[1:]; digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9'; digits++ {
			nanoseconds = 10*nanoseconds + int(rest[digits]-'0')
		}
		if digits < 1 || digits > 6 {
			return t, false
		}
		for rest = rest[digits:]; digits < 9; digits++ {
			nanoseconds *= 10
		}
	}
	offset := 0
	switch {
	case len(rest) == 1 && rest[0] == 'Z':
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		at := len(b) - len(rest)
		offset = 60*number(at+1, 2, 0, 23) + number(at+4, 2, 0, 59)
		if rest[0] == '-' {
			offset = -offset
		}
	default:
		return t, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanoseconds, time.UTC)
	// Of a day that the month does not have, the time is of the next month.
	return t.Add(-time.Duration(offset) * time.Minute), ok && t.Day() == day
}

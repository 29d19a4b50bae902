package inputs

import (
	"errors"
	"net"
	"time"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// The names of facilities and severities, as syslog.conf(5) has them.
var (
	facilities = [...]string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
	severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

// FacilityName returns the name of a facility, empty if there is none of that number.
func FacilityName(n int) string { return nameIn(facilities[:], n) }

// SeverityName returns the name of a severity, empty if there is none of that number.
func SeverityName(n int) string { return nameIn(severities[:], n) }

func nameIn(names []string, n int) string {
	if n < 0 || n >= len(names) {
		return ""
	}
	return names[n]
}

// parser finds out what a message of syslog says of itself. It is for one goroutine.
type parser struct {
	rfc5424, rfc3164 syslog.Machine
	app, procID      recent
}

func newParser() *parser {
	return &parser{
		rfc5424: rfc5424.NewMachine(rfc5424.WithBestEffort()),
		rfc3164: rfc3164.NewMachine(rfc3164.WithBestEffort(), rfc3164.WithRFC3339(), rfc3164.WithLenientDay(), rfc3164.WithSecondFractions(), rfc3164.WithEmbeddedNewlines()),
	}
}

// errParse is the error of a parser that panicked.
var errParse = errors.New("the parser panicked")

// parse sets what the body of m says, as far as it can be read, and reports whether all
// of it could.
func (p *parser) parse(m *feed.Message, now time.Time) bool {
	return p.header(m) || p.parseAll(m, now)
}

// parseAll is parse for any message.
func (p *parser) parseAll(m *feed.Message, now time.Time) bool {
	machine := p.rfc3164
	if isRFC5424(m.Body) {
		machine = p.rfc5424
	}
	parsed, err := parseBy(machine, m.Body)
	if errors.Is(err, errParse) {
		*p = *newParser() // it may be in any state
		return false
	}
	var base syslog.Base
	switch parsed := parsed.(type) {
	case *rfc5424.SyslogMessage:
		base = parsed.Base
	case *rfc3164.SyslogMessage:
		base = parsed.Base
	default:
		return false
	}
	if base.Facility != nil {
		m.Facility = FacilityName(int(*base.Facility))
	}
	if base.Severity != nil {
		m.Severity = SeverityName(int(*base.Severity))
	}
	if base.Appname != nil {
		m.App = *base.Appname
	}
	if base.ProcID != nil {
		m.ProcID = *base.ProcID
	}
	if base.Timestamp != nil {
		m.Sent = withYear(*base.Timestamp, now)
	}
	return err == nil
}

// parseBy parses, whatever comes.
func parseBy(m syslog.Machine, body []byte) (parsed syslog.Message, err error) {
	defer func() {
		if recover() != nil {
			parsed, err = nil, errParse
		}
	}()
	return m.Parse(body)
}

// isRFC5424 reports whether a version follows the priority.
func isRFC5424(b []byte) bool {
	for i := 1; i < min(len(b), 5); i++ {
		if b[i] == '>' {
			return b[0] == '<' && len(b) > i+2 && b[i+1] == '1' && b[i+2] == ' '
		}
	}
	return false
}

// withYear returns the time of a stamp. One of RFC 3164 has no year, and is of the zone
// of its sender, for which ours is taken: the year is that in which it is nearest to now.
func withYear(stamp, now time.Time) time.Time {
	if stamp.Year() != 0 {
		return stamp
	}
	var nearest time.Time
	for year := now.Year() - 1; year <= now.Year()+1; year++ {
		t := time.Date(year, stamp.Month(), stamp.Day(), stamp.Hour(), stamp.Minute(), stamp.Second(), stamp.Nanosecond(), now.Location())
		if nearest.IsZero() || t.Sub(now).Abs() < nearest.Sub(now).Abs() {
			nearest = t
		}
	}
	return nearest
}

// syslogTaker takes messages of syslog.
type syslogTaker struct {
	taker
	framer
	parser *parser
	remote string
	said   feed.Message // of the message whose parts come
}

func newSyslogTaker(in *Input, live feed.Live, remote string) *syslogTaker {
	return &syslogTaker{taker: taker{in: in, live: live}, parser: newParser(), remote: remote}
}

func (t *syslogTaker) write(p []byte) error {
	t.framer.set(t.in.config.Load().lines())
	return t.framer.write(p, t.frame)
}

func (t *syslogTaker) end() error { return t.framer.end(t.frame) }

func (t *syslogTaker) put() error { return t.taker.put(nil) }

// datagram takes a datagram.
func (t *syslogTaker) datagram(p []byte, remote string) error {
	t.remote = remote
	return t.framer.whole(p, t.frame)
}

// frame takes a message, or a part.
func (t *syslogTaker) frame(f frame) error {
	if f.left > 0 {
		long := lines.Truncate
		if f.skipped {
			long = lines.Skip
		}
		t.tooLong(0, f.left, long)
		return nil
	}
	if f.first {
		t.said = feed.Message{Remote: t.remote, Body: f.body}
		if !t.parser.parse(&t.said, time.Now()) {
			t.in.counters.ParseFailures.Add(1)
		}
	}
	m := t.said
	m.Body, m.Part, m.Last = f.body, f.part, f.last
	t.said.Body = nil
	if f.part == 1 {
		t.in.counters.LinesSplit.Add(1)
	}
	if t.add(m) {
		return t.put()
	}
	return nil
}

// serveSyslog serves a connection.
func (in *Input) serveSyslog(nc net.Conn, remote string) {
	live := in.sink.Live(in.config.Load().Name, nameOf(in, remote))
	defer live.Close()
	t := newSyslogTaker(in, live, remote)
	in.serveStream(&reader{nc: nc, before: t.put}, t, remote)
}

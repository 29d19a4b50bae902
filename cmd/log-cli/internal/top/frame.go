package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// frame is what two samples mean.
type frame struct {
	host     string
	time     time.Time
	interval time.Duration
	order    string
	server   serverRow
	topics   []topicRow
	above    int // topics that are not shown, and stand above
	all      int // topics there are
	lags     bool
	members  []admin.Member
	away     error
}

// serverRow is what the server does. Rates are a second's; less than 0 is unknown.
type serverRow struct {
	Connections int64   `json:"connections"`
	Waiting     int64   `json:"reads_waiting"`
	Requests    float64 `json:"requests"`
	Errors      float64 `json:"errors"`
	In          float64 `json:"bytes_in"`
	Out         float64 `json:"bytes_out"`
}

// topicRow is a topic and what is written to it.
type topicRow struct {
	name               string
	messages, bytes    float64 // a second; less than 0 is unknown
	size, stored, lags int64
	newest             time.Time
	state              string
}

// frame returns what there is to be shown.
func (v *view) frame() *frame {
	f := &frame{host: v.host, interval: v.interval, order: v.order, away: v.away}
	if v.now == nil {
		return f
	}
	now, last := v.now, v.last
	f.time, f.members, f.lags, f.all = now.time, now.members, now.lags != nil, len(now.topics)
	seconds := 0.0
	if last != nil {
		seconds = now.time.Sub(last.time).Seconds()
	}
	stat := func(name string) float64 {
		if seconds <= 0 || now.stats[name] < last.stats[name] { // it was restarted
			return -1
		}
		return float64(now.stats[name]-last.stats[name]) / seconds
	}
	f.server = serverRow{
		Connections: now.stats["conns.active"], Waiting: now.stats["reads.waiting"],
		Requests: stat("requests.total"), Errors: stat("errors.total"), In: stat("bytes.in"), Out: stat("bytes.out"),
	}
	for name, info := range now.topics {
		r := topicRow{name: name, messages: -1, bytes: -1, size: info.Bytes, stored: info.Messages, newest: info.NewestTime, lags: now.lags[name], state: info.State}
		if last != nil && seconds > 0 {
			r.messages, r.bytes = rates(info, last.topics[name], seconds)
		}
		f.topics = append(f.topics, r)
	}
	slices.SortFunc(f.topics, f.compare)
	f.above = max(min(v.skip, len(f.topics)-1), 0)
	f.topics = f.topics[f.above:]
	if v.count > 0 && len(f.topics) > v.count {
		f.topics = f.topics[:v.count]
	}
	return f
}

// rates returns how many messages and bytes were written a second. All of a topic that
// is new was.
func rates(now, last *admin.TopicInfo, seconds float64) (messages, bytes float64) {
	if last == nil || last.ID != now.ID {
		last = new(admin.TopicInfo)
	}
	written := now.Next - last.Next
	if written < 0 {
		return -1, -1
	}
	n := float64(now.Messages - last.Messages)
	if now.Oldest != last.Oldest { // some were removed: those that came are about as long as the others
		n = 0
		if now.Bytes > 0 {
			n = float64(written) * float64(now.Messages) / float64(now.Bytes)
		}
	}
	return max(n, 0) / seconds, float64(written) / seconds
}

// compare orders topics: by what the user wants, from the largest down, and by name.
func (f *frame) compare(a, b topicRow) int {
	by := 0
	switch f.order {
	case "rate":
		by = cmp.Compare(b.bytes, a.bytes)
	case "size":
		by = cmp.Compare(b.size, a.size)
	case "lag":
		by = cmp.Compare(b.lags, a.lags)
	}
	return cmp.Or(by, strings.Compare(a.name, b.name))
}

// width is how wide a frame is that nobody says the width of.
const width = 80

// lines returns the frame as text, each line of at most so many columns; 0 is as many as it takes.
func (f *frame) lines(columns int) (lines []string) {
	line := func(format string, args ...any) {
		lines = append(lines, strings.TrimRight(clean(fmt.Sprintf(format, args...)), " "))
	}
	at := f.time.Format("15:04:05")
	if f.time.IsZero() {
		at = "-"
	}
	line("log-cli top  %s  %s  every %v  by %s", f.host, at, f.interval, f.order)
	if f.away != nil {
		line("%s; trying on", cli.Plain(f.away))
	}
	s := &f.server
	line("%d connections  %s requests/s  %s errors/s  in %s  out %s  %d reads wait",
		s.Connections, rate(s.Requests), rate(s.Errors), byteRate(s.In), byteRate(s.Out), s.Waiting)
	if f.members != nil {
		line("")
		line("%-16s %-8s %-7s %6s %10s %10s  %s", "MEMBER", "ROLE", "STATE", "LEADS", "BEHIND", "FREE", "VERSION")
		for _, m := range f.members {
			behind := "-"
			if m.LagBytes > 0 {
				behind = cli.FormatBytes(float64(m.LagBytes))
			}
			line("%-16s %-8s %-7s %6d %10s %10s  %s", cut(m.Name, 16), m.Role, m.State, m.Leads, behind, cli.FormatBytes(float64(m.Free)), m.Version)
		}
	}
	line("")
	name := min(max(columns, width), 120) - 60
	lag := func(text string) string {
		if !f.lags {
			return ""
		}
		return fmt.Sprintf(" %9s", text)
	}
	if !f.lags {
		name += 10
	}
	line("%-*s %8s %10s %9s %12s%s  %s", name, "TOPIC", "MSG/S", "WRITTEN/S", "SIZE", "MESSAGES", lag("LAG"), "STATE")
	for i := range f.topics {
		t := &f.topics[i]
		state := t.state
		if state == "writable" || state == "" {
			state = "ok"
		}
		line("%-*s %8s %10s %9s %12s%s  %s", name, cut(t.name, name), rate(t.messages), byteRate(t.bytes),
			cli.FormatBytes(float64(t.size)), humanize.Comma(t.stored), lag(cli.FormatBytes(float64(t.lags))), state)
	}
	if shown := f.above + len(f.topics); f.above > 0 || shown < f.all {
		line("topics %d to %d of %d", f.above+1, shown, f.all)
	}
	if columns > 0 {
		for i := range lines {
			lines[i] = cut(lines[i], columns)
		}
	}
	return lines
}

// rate is a number a second, for people.
func rate(n float64) string {
	switch {
	case n < 0:
		return "-"
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1fk", n/1e3)
	case n >= 10 || n == 0:
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

func byteRate(n float64) string {
	if n < 0 {
		return "-"
	}
	return cli.FormatBytes(n)
}

// cut shortens a text to so many characters.
func cut(text string, columns int) string {
	if runes := []rune(text); len(runes) > columns {
		return string(runes[:columns-1]) + "…"
	}
	return text
}

// clean takes from a line what a terminal would obey: a server's words are not trusted.
func clean(line string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, line)
}

// The frame as JSON. Rates are a second's, and null if they are not known.
type (
	jsonFrame struct {
		Time     string       `json:"time"`
		Interval int64        `json:"interval_ms"`
		Server   jsonServer   `json:"server"`
		Topics   []jsonTopic  `json:"topics"`
		Members  []jsonMember `json:"members,omitempty"`
	}
	jsonServer struct {
		Connections int64    `json:"connections"`
		Waiting     int64    `json:"reads_waiting"`
		Requests    *float64 `json:"requests_per_second"`
		Errors      *float64 `json:"errors_per_second"`
		In          *float64 `json:"in_bytes_per_second"`
		Out         *float64 `json:"out_bytes_per_second"`
		Topics      int      `json:"topics"`
	}
	jsonTopic struct {
		Topic     string   `json:"topic"`
		MessagesS *float64 `json:"messages_per_second"`
		BytesS    *float64 `json:"bytes_per_second"`
		Bytes     int64    `json:"bytes"`
		Messages  int64    `json:"messages"`
		Newest    string   `json:"newest_time,omitempty"`
		Lag       *int64   `json:"lag_bytes,omitempty"`
		State     string   `json:"state"`
	}
	jsonMember struct {
		Name    string `json:"name"`
		Role    string `json:"role"`
		State   string `json:"state"`
		Leads   int64  `json:"leads"`
		Behind  int64  `json:"behind_bytes"`
		Free    int64  `json:"free_bytes"`
		Version string `json:"version"`
	}
)

func (f *frame) json() *jsonFrame {
	const layout = "2006-01-02T15:04:05.000Z07:00"
	known := func(n float64) *float64 {
		if n < 0 {
			return nil
		}
		return &n
	}
	s := &f.server
	j := &jsonFrame{
		Time: f.time.UTC().Format(layout), Interval: f.interval.Milliseconds(), Topics: []jsonTopic{},
		Server: jsonServer{s.Connections, s.Waiting, known(s.Requests), known(s.Errors), known(s.In), known(s.Out), f.all},
	}
	for i := range f.topics {
		t := &f.topics[i]
		r := jsonTopic{Topic: t.name, MessagesS: known(t.messages), BytesS: known(t.bytes), Bytes: t.size, Messages: t.stored, State: t.state}
		if !t.newest.IsZero() {
			r.Newest = t.newest.UTC().Format(layout)
		}
		if f.lags {
			r.Lag = &t.lags
		}
		j.Topics = append(j.Topics, r)
	}
	for _, m := range f.members {
		j.Members = append(j.Members, jsonMember{m.Name, m.Role, m.State, m.Leads, m.LagBytes, m.Free, m.Version})
	}
	return j
}

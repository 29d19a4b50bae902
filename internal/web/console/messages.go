package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
)

// The bounds of a page of messages.
const (
	defaultMessages = 50
	maxMessages     = 500
	// readBytes is how much is read for a page, if one message is not longer.
	readBytes = 8 << 20
	// shownBytes is how long what is shown of bodies is together. One of control
	// characters alone is two dozen times as long as it was.
	shownBytes = 4 << 20
)

// messagesPage is a page of messages.
type messagesPage struct {
	Topic    string
	Info     protocol.TopicInfo
	From     string // as it was asked for
	Wrong    string // what is wrong with that
	Number   int64
	Contains string
	Pretty   bool
	Local    bool // times are in the zone of the browser, if it has the script
	API      bool

	Rows        []messageRow
	size        int64 // of the texts of the rows
	Read, Shown int   // messages that were read, and that are shown
	First       string
	Next        string // where the page behind begins
	Cut         string // why there are fewer than were asked for
	AtEnd       bool
	Refresh     int64
	Older       string // queries
	Newer       string
	Newest      string
	Follow      string
	Now         visitTime
}

// messageRow is a message, or what is passed over: then Gap is not empty.
type messageRow struct {
	ID   string
	Time time.Time // zero: not known
	Day  bool      // it is not today's
	Body bodyView
	Gap  string
}

// messages shows messages of a topic.
func (v *visit) messages() error {
	q := v.URL.Query()
	p := &messagesPage{
		Topic: v.topic, From: q.Get("from"), Number: min(max(number(q.Get("n"), defaultMessages), 1), maxMessages), Contains: q.Get("contains"),
		Pretty: q.Get("pretty") != "0", Local: q.Get("time") == "local", API: v.console.o.API, Now: visitTime{v.now},
	}
	if n := number(q.Get("refresh"), 0); n > 0 {
		p.Refresh = min(max(n, 1), 3600)
	}
	if p.From == "" {
		p.From = "-" + strconv.FormatInt(p.Number, 10)
	}
	conf, err := v.caller.Config(v.ctx)
	if err != nil {
		return err
	}
	if p.Info, err = v.caller.Info(v.ctx, v.topic, false); err != nil {
		return err
	}
	f := &ask.Finder{Caller: v.caller, Conf: &conf, Topic: v.topic, Info: p.Info, Around: true, Grow: v.grow}
	from, err := v.begin(p, f)
	if err != nil {
		return err
	}
	if err := v.read(p, f, from); err != nil {
		return err
	}
	older, err := f.Before(v.ctx, from, p.Number)
	if err == nil && older.Before(from) {
		p.Older = p.query(older.ID())
	}
	if !p.AtEnd {
		p.Newer = p.query(p.Next)
	}
	p.Newest = p.query("-" + strconv.FormatInt(p.Number, 10))
	p.Follow = p.query("-"+strconv.FormatInt(p.Number, 10)) + "&refresh=5"
	rendered := v.grow
	v.grow = func(n int64) error { return rendered(n + p.size) }
	// The script follows by the API. Without that it has the page anew.
	return v.show("messages", &frame{Title: v.topic + " / messages", At: "topics", Refresh: p.Refresh, Live: p.Refresh > 0 && !p.API, Data: p})
}

// begin returns where the page begins. What can't be found is told on the page, which
// begins at what comes next then.
func (v *visit) begin(p *messagesPage, f *ask.Finder) (ask.Place, error) {
	where, err := place.Parse(p.From, v.now)
	if err != nil {
		p.Wrong = fmt.Sprintf("%q is no place: %v.", clip(p.From), err)
		where = place.Place{Kind: place.FromEnd, N: p.Number}
	}
	from, err := f.Find(v.ctx, where)
	if notPlace, ok := errors.AsType[*ask.NotAPlaceError](err); ok {
		p.Wrong = fmt.Sprintf("No message begins at %v. The next one does at %v.", notPlace.Place, notPlace.Next)
		from, err = notPlace.Next, nil
	}
	if beyond, ok := errors.AsType[*ask.BeyondEndError](err); ok {
		p.Wrong = fmt.Sprintf("%d is behind the end, which is %d.", beyond.Offset, beyond.End)
		from, err = ask.Place{Offset: beyond.End}, nil
	}
	if gap, ok := errors.AsType[*ask.Gap](err); ok {
		from, err = ask.Place{Offset: gap.From}, nil // which is met again when it is read
	}
	return from, err
}

// read reads the messages of the page.
func (v *visit) read(p *messagesPage, f *ask.Finder, from ask.Place) error {
	r := v.caller.NewReader(f.Conf, v.topic, from.Offset, false)
	r.Grow, r.Around = func(n int64) error { return v.grow(n + p.size) }, true
	defer r.Release()
	next, bytesRead := from, int64(0)
	p.First = from.ID()
	for p.Cut == "" && int64(p.Read) < p.Number {
		b, err := r.Next(v.ctx, 0)
		if gap, ok := errors.AsType[*ask.Gap](err); ok {
			p.Rows = append(p.Rows, messageRow{Gap: gapWords(gap)})
			r.GoTo(gap.To)
			next = ask.Place{Offset: gap.To}
			continue
		}
		if err == io.EOF {
			p.AtEnd = true
			break
		}
		if err != nil {
			return err
		}
		var last bool
		for m := (batch.Messages{Data: b.Data}); m.Next(); {
			at := ask.Place{Offset: b.Offset, Delta: m.Delta()}
			if at.Before(next) {
				continue
			}
			next = at
			if int64(p.Read) == p.Number {
				last = true
				break
			}
			body := m.Body()
			if bytesRead += int64(len(body)); p.Read > 0 && (bytesRead > readBytes || p.size > shownBytes) {
				p.Cut, last = "The messages are too long for one page: the others are behind “newer”.", true
				break
			}
			p.add(v, at, b.Time, body)
			if err := v.grow(p.size); err != nil {
				return err
			}
		}
		if !last {
			next = ask.Place{Offset: b.End}
		}
	}
	p.Next = next.ID()
	if next.Offset >= p.Info.Next { // by what it was before it was read
		p.AtEnd, p.Info.Next = true, next.Offset
	}
	return nil
}

// add adds a message to the page, unless it lacks what all are to contain.
func (p *messagesPage) add(v *visit, at ask.Place, millis int64, body []byte) {
	p.Read++
	if p.Contains != "" && !bytes.Contains(body, []byte(p.Contains)) {
		return
	}
	p.Shown++
	row := messageRow{ID: at.ID(), Body: viewBody(body, p.Pretty)}
	if millis >= 0 {
		row.Time = time.UnixMilli(millis).UTC()
		row.Day = row.Time.Format(time.DateOnly) != v.now.Format(time.DateOnly)
	}
	p.Rows = append(p.Rows, row)
	p.size += int64(len(row.Body.Text))
}

// gapWords says what is passed over.
func gapWords(g *ask.Gap) string {
	what := map[ask.Cause]string{ask.Retention: "removed by retention", ask.Damage: "damaged and set aside", ask.Lost: "lost", ask.Away: "damaged here; other members may have them"}[g.Cause]
	return "gap: " + ask.Exact(g.To-g.From) + " bytes " + what
}

// query returns the query of the page that begins elsewhere.
func (p *messagesPage) query(from string) string {
	q := url.Values{"from": {from}}
	if p.Number != defaultMessages {
		q.Set("n", strconv.FormatInt(p.Number, 10))
	}
	if p.Contains != "" {
		q.Set("contains", p.Contains)
	}
	if !p.Pretty {
		q.Set("pretty", "0")
	}
	if p.Local {
		q.Set("time", "local")
	}
	return "?" + q.Encode()
}

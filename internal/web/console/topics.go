package console

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

const (
	pageTopics = 1000   // on a page
	sumTopics  = 10_000 // up to which all are looked at, for sums and other orders
)

// topicRow is a topic in the list of topics.
type topicRow struct {
	Name string
	Info protocol.TopicInfo
	Err  string // why nothing is known of it

	Rate    float64
	Rated   bool
	Lag     int64
	HasLag  bool
	Trouble string // what is wrong
}

// topicsPage is the list of topics.
type topicsPage struct {
	Query, Sort string
	Down        bool
	Rows        []topicRow
	Columns     []column

	Total, All  int // topics that match, and that there are
	First, Last int
	Prev, Next  string // queries of the other pages, or empty
	Summed      bool
	Bytes       int64
	Rate        float64
	Rated       bool // the rates of all are known
	ReadOnly    int
	Now         visitTime
}

// column is the head of a column, and the way to the list in its order.
type column struct {
	Name, Key string
	Query     string
	Order     string // ascending, descending or empty
	Mark      string
	Number    bool
}

// orders are how topics can be sorted. Numbers begin with the largest.
var orders = []struct {
	name, key string
	number    bool
	compare   func(a, b *topicRow) int
}{
	{"Name", "name", false, func(a, b *topicRow) int { return 0 }},
	{"Size", "size", true, func(a, b *topicRow) int { return cmp.Compare(a.Info.Bytes, b.Info.Bytes) }},
	{"Messages", "messages", true, func(a, b *topicRow) int { return cmp.Compare(a.Info.Messages, b.Info.Messages) }},
	{"Msg/s", "rate", true, func(a, b *topicRow) int { return cmp.Compare(a.Rate, b.Rate) }},
	{"Oldest", "oldest", true, func(a, b *topicRow) int { return b.Info.OldestTime.Compare(a.Info.OldestTime) }},
	{"Newest", "newest", true, func(a, b *topicRow) int { return b.Info.NewestTime.Compare(a.Info.NewestTime) }},
	{"Lag max", "lag", true, func(a, b *topicRow) int { return cmp.Compare(a.Lag, b.Lag) }},
	{"State", "state", false, func(a, b *topicRow) int { return -cmp.Compare(a.Trouble, b.Trouble) }},
}

// topics shows the list of topics.
func (v *visit) topics() error {
	names, err := v.caller.Topics(v.ctx, false)
	if err != nil {
		return err
	}
	q := v.URL.Query()
	p := &topicsPage{Query: q.Get("q"), Sort: "name", Down: q.Get("desc") == "1", All: len(names), Rated: true, Now: visitTime{v.now}}
	for _, o := range orders {
		if o.key == q.Get("sort") {
			p.Sort = o.key
		}
	}
	if names, err = filter(names, p.Query); err != nil {
		return err
	}
	p.Total = len(names)
	p.Summed = p.Total <= sumTopics
	if !p.Summed {
		p.Sort = "name"
	}
	at := max(number(q.Get("page"), 1), 1)
	first := int(min((at-1)*pageTopics, int64(max(p.Total-1, 0)/pageTopics*pageTopics)))
	last := min(first+pageTopics, p.Total)
	if !p.Summed {
		names = names[first:last]
	}
	lags := v.lags()
	rows := make([]topicRow, 0, len(names))
	for _, name := range names {
		rows = append(rows, topicRow{Name: name})
		row := &rows[len(rows)-1]
		if row.Info, err = v.caller.Info(v.ctx, name, false); err == nil {
			row.look(v, lags)
		} else if errors.Is(err, protocol.ErrNotFound) {
			rows = rows[:len(rows)-1] // it is gone by now
			continue
		} else if v.ctx.Err() != nil {
			return err
		} else {
			row.Err = problem.From(err).Kind.Title
			row.Trouble = "not known: " + row.Err
		}
		p.add(row)
	}
	v.console.rates.forget(v.now)
	p.sort(rows)
	if p.Summed {
		first, last = min(first, len(rows)), min(last, len(rows))
		rows = rows[first:last]
	}
	p.Rows, p.First, p.Last = rows, first+1, last
	if first > 0 {
		p.Prev = p.query(p.Sort, p.Down, at-1)
	}
	if last < p.Total {
		p.Next = p.query(p.Sort, p.Down, at+1)
	}
	p.columns()
	return v.show("topics", &frame{Title: "Topics", At: "topics", Live: true, Data: p})
}

// All64 returns how many topics there are.
func (p *topicsPage) All64() int64 { return int64(p.All) }

// RateText returns a rate for the page.
func (p *topicsPage) RateText(rate float64) string { return rateText(rate) }

func rateText(rate float64) string {
	if rate > 0 && rate < 10 {
		return strconv.FormatFloat(rate, 'g', 2, 64)
	}
	return ask.Count(int64(rate + 0.5))
}

// HTML returns the row as it stands on the page. There are a thousand of them, and for each
// value of theirs a template takes longer than all that is done here.
func (row *topicRow) HTML(root string, now visitTime) template.HTML {
	name := appendBody(nil, []byte(row.Name))
	var b strings.Builder
	b.Grow(512)
	b.WriteString(`<tr><th scope="row"><a href="` + root + `/topics/` + url.PathEscape(row.Name) + `">` + string(name) + `</a></th>`)
	cell := func(known bool, text string) {
		if !known || row.Err != "" {
			text = "–"
		}
		b.WriteString(`<td class="n">` + text)
	}
	in := &row.Info
	cell(true, ask.Size(in.Bytes))
	cell(true, ask.Count(in.Messages))
	cell(row.Rated, rateText(row.Rate))
	cell(true, string(now.Age(in.OldestTime)))
	cell(true, string(now.Age(in.NewestTime)))
	cell(row.HasLag, ask.Size(row.Lag))
	if row.Trouble == "" {
		b.WriteString("<td>ok\n")
	} else {
		b.WriteString(`<td><b class="bad">` + string(appendBody(nil, []byte(row.Trouble))) + "</b>\n")
	}
	return template.HTML(b.String())
}

// filter returns the names that a pattern matches, if there is a wildcard in it, or that it
// is a part of.
func filter(names []string, pattern string) ([]string, error) {
	if pattern == "" {
		return names, nil
	}
	glob := strings.ContainsAny(pattern, "*?[")
	var left []string
	for _, name := range names {
		ok := strings.Contains(name, pattern)
		if glob {
			var err error
			if ok, err = path.Match(pattern, name); err != nil {
				return nil, problem.New(problem.InvalidRequest, fmt.Sprintf("The filter %q is no pattern: * is any bytes, ? any one, [a-z] one of these.", clip(pattern)))
			}
		}
		if ok {
			left = append(left, name)
		}
	}
	return left, nil
}

// lags returns for each topic how far behind the last of its consumers is, in bytes.
func (v *visit) lags() map[string]int64 {
	lags := make(map[string]int64)
	var topic, consumer string
	for range sumTopics / protocol.MaxPositions {
		all, err := v.caller.Positions(v.ctx, "", topic, consumer)
		if err != nil { // none are kept
			return lags
		}
		for i := range all {
			lag, ok := lags[all[i].Topic]
			if !ok || all[i].LagBytes > lag {
				lags[all[i].Topic] = all[i].LagBytes
			}
			topic, consumer = all[i].Topic, all[i].Consumer
		}
		if len(all) < protocol.MaxPositions {
			break
		}
	}
	return lags
}

// look finds out the rest of a topic that INFO has told of.
func (row *topicRow) look(v *visit, lags map[string]int64) {
	in := &row.Info
	row.Rate, row.Rated = v.console.rates.look(row.Name, in, v.now)
	row.Lag, row.HasLag = lags[row.Name]
	row.Trouble = trouble(in)
}

// trouble returns what is wrong with a topic, or nothing.
func trouble(in *protocol.TopicInfo) string {
	var all []string
	if in.State != "" && in.State != protocol.Writable {
		all = append(all, in.State)
	}
	if in.Role != "" && in.Role != protocol.Single && in.Leader == "" {
		all = append(all, "no leader")
	}
	if in.Damaged > 0 {
		all = append(all, "damaged: "+ask.Size(in.Damaged))
	}
	return strings.Join(all, ", ")
}

// add adds a topic to the sums.
func (p *topicsPage) add(row *topicRow) {
	p.Bytes += row.Info.Bytes
	p.Rate += row.Rate
	p.Rated = p.Rated && (row.Rated || row.Err != "")
	if row.Info.State != "" && row.Info.State != protocol.Writable {
		p.ReadOnly++
	}
}

// sort brings the rows, which are sorted by name, into the order of the page.
func (p *topicsPage) sort(rows []topicRow) {
	for _, o := range orders {
		if o.key != p.Sort {
			continue
		}
		slices.SortStableFunc(rows, func(a, b topicRow) int {
			if o.number {
				return -o.compare(&a, &b)
			}
			return o.compare(&a, &b)
		})
	}
	if p.Down {
		slices.Reverse(rows)
	}
}

// query returns the query of the list in an order, and of a page of it.
func (p *topicsPage) query(sort string, down bool, page int64) string {
	q := make(url.Values)
	if p.Query != "" {
		q.Set("q", p.Query)
	}
	if sort != "name" {
		q.Set("sort", sort)
	}
	if down {
		q.Set("desc", "1")
	}
	if page > 1 {
		q.Set("page", fmt.Sprint(page))
	}
	return "?" + q.Encode()
}

func (p *topicsPage) columns() {
	for _, o := range orders {
		c := column{Name: o.name, Key: o.key, Number: o.number, Query: p.query(o.key, o.key == p.Sort && !p.Down, 1)}
		if o.key == p.Sort {
			c.Order, c.Mark = "ascending", "▲"
			if o.number != p.Down {
				c.Order, c.Mark = "descending", "▼"
			}
		}
		p.Columns = append(p.Columns, c)
	}
}

// number returns a number of a query, or another if it has none.
func number(text string, other int64) int64 {
	if n, ok := batch.ParseInt([]byte(text)); ok && n <= 1<<40 {
		return n
	}
	return other
}

package console

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/web/ask"
)

// positionsPage is the list of all positions.
type positionsPage struct {
	Rows  []positionRow
	No    string // why there are none
	After string
	Next  string // query of the next page, or empty
	Acts  bool   // some of them may be moved
	Now   visitTime
}

// positions shows where consumers are.
func (v *visit) positions() error {
	p := &positionsPage{After: v.URL.Query().Get("after"), Now: visitTime{v.now}}
	topic, consumer, _ := strings.Cut(p.After, "/")
	if !batch.ValidTopic(topic) || !protocol.ValidConsumer(consumer) {
		topic, consumer, p.After = "", "", ""
	}
	all, err := v.caller.Positions(v.ctx, "", topic, consumer)
	if err == protocol.ErrBusy {
		return err
	}
	if err != nil {
		p.No = whyNot(err)
	}
	if n := len(all); n == protocol.MaxPositions {
		p.Next = "?after=" + url.QueryEscape(all[n-1].Topic+"/"+all[n-1].Consumer)
	}
	p.Rows = v.positionRows(all)
	p.Acts = slices.ContainsFunc(p.Rows, func(row positionRow) bool { return row.Move })
	return v.show("positions", &frame{Title: "Positions", At: "positions", Live: true, Data: p})
}

// clusterPage is the cluster as this member sees it.
type clusterPage struct {
	Alone   bool
	Cluster protocol.ClusterInfo
	Members []memberRow
	Groups  []groupRow
	No      string // why there are no groups
	Trouble []string
	Acts    bool // leads may be moved
}

type memberRow struct {
	protocol.MemberInfo
	Class, Lag string
	Self       bool
	MayLead    bool // more than it does
}

type groupRow struct {
	protocol.GroupInfo
	Behind int64
	Others string // who may lead it in place of its leader, with commas between
}

// cluster shows the members and the groups of the cluster.
func (v *visit) cluster() error {
	p := new(clusterPage)
	f := &frame{Title: "Cluster", At: "cluster", Live: true, Data: p}
	var err error
	if p.Cluster, err = v.caller.Cluster(v.ctx); err == protocol.ErrInvalidRequest {
		p.Alone = true
		return v.show("cluster", f)
	} else if err != nil {
		return err
	}
	conf, _ := v.caller.Config(v.ctx) // without which nobody is oneself
	p.Acts = v.mayTransfer()
	var up []string
	for _, m := range p.Cluster.Members {
		row := memberRow{MemberInfo: m, Self: m.Name == conf.Node, Lag: "–"}
		if m.State != "up" {
			row.Class = "bad"
			p.Trouble = append(p.Trouble, fmt.Sprintf("%s is %s.", m.Name, m.State))
		} else {
			up = append(up, m.Name)
			row.MayLead = m.Leads < p.Cluster.Groups && m.Role == "voter"
		}
		if !row.Self {
			row.Lag = ask.Size(m.LagBytes)
			if m.LagMS > 0 {
				row.Lag += " · " + ask.About(time.Duration(m.LagMS)*time.Millisecond)
			}
		}
		p.Members = append(p.Members, row)
	}
	groups, err := v.caller.Groups(v.ctx)
	if err != nil {
		p.No = whyNot(err)
	}
	var unled []string
	for _, g := range groups {
		if g.Leader == "" {
			unled = append(unled, fmt.Sprint(g.Group))
		}
		if g.DamagedBytes > 0 {
			p.Trouble = append(p.Trouble, fmt.Sprintf("In group %d %s are damaged here.", g.Group, ask.Size(g.DamagedBytes)))
		}
		others := slices.DeleteFunc(slices.Clone(g.Voters), func(name string) bool { return name == g.Leader || !slices.Contains(up, name) })
		p.Groups = append(p.Groups, groupRow{g, max(g.Commit-g.Applied, 0), strings.Join(others, ",")})
	}
	switch n := len(unled); {
	case n == 1:
		p.Trouble = append(p.Trouble, "Group "+unled[0]+" has no leader: its topics take no messages.")
	case n > 1 && n == len(groups):
		p.Trouble = append(p.Trouble, "No group has a leader: no topic takes messages.")
	case n > 1:
		p.Trouble = append(p.Trouble, "Groups "+strings.Join(unled, ", ")+" have no leader: their topics take no messages.")
	}
	return v.show("cluster", f)
}

// writersPage is what was asked of the server, and what went wrong with it.
type writersPage struct {
	Batches, Messages, In, Out int64
	Conns, Waiting             int64
	Rows                       []commandRow
	Errors                     []server.ErrorCount
	Refused                    []server.Refused // the newest
	NoErrors                   string           // why these two are not known
	Now                        visitTime
	Other                      []settingRow // errors that are of no command
}

// commandRow is a command of the protocol, and how it went.
type commandRow struct {
	Name             string
	Requests, Errors int64
}

// shownRefusals is how many error answers a page has; the API tells more.
const shownRefusals = 50

// writers shows what is asked of the server.
func (v *visit) writers() error {
	fields, err := v.caller.Fields(v.ctx, protocol.Stats)
	if err != nil {
		return err
	}
	values := make(map[string]int64)
	for _, f := range fields {
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil {
			values[f.Name] = n
		}
	}
	p := &writersPage{
		Batches: values["batches.total"], Messages: values["messages.total"], In: values["bytes.in"], Out: values["bytes.out"],
		Conns: values["conns.active"], Waiting: values["reads.waiting"],
	}
	for name, n := range values {
		command, ok := strings.CutPrefix(name, "requests.")
		if ok && command != "total" && (n > 0 || values["errors."+command] > 0) {
			p.Rows = append(p.Rows, commandRow{strings.ToUpper(command), n, values["errors."+command]})
		}
	}
	slices.SortFunc(p.Rows, func(a, b commandRow) int { return strings.Compare(a.Name, b.Name) })
	for _, of := range [][2]string{
		{"conns.refused", "connections refused, over the limit"}, {"conns.panics", "connections ended by a fault of the server"},
		{"topics.disallowed", "topics that the whitelist does not have"}, {"reads.missed", "reads of what is not there"},
	} {
		if n := values[of[0]]; n > 0 {
			p.Other = append(p.Other, settingRow{of[1], ask.Exact(n)})
		}
	}
	p.Now = visitTime{v.now}
	if p.Errors, p.Refused, err = v.caller.Errors(v.ctx); err != nil {
		p.NoErrors = whyNot(err)
	}
	p.Refused = p.Refused[:min(len(p.Refused), shownRefusals)]
	return v.show("writers", &frame{Title: "Writers", At: "writers", Live: true, Data: p})
}

// healthPage tells how the server is.
type healthPage struct {
	Ready  bool
	Rows   []healthRow
	Failed int
	Now    visitTime
}

type healthRow struct {
	Check
	Says string // what it is about
	Do   string // what to do
}

// advice says of each check what it means if all is well, and what to do if not.
var advice = map[string][2]string{
	"recovery": {"All topics were opened.", "Wait: after a crash the ends of the logs are read before anything is served. The server's log tells how far it is."},
	"drain":    {"The server takes requests.", "It shuts down. Clients go to another member, or wait for the start."},
	"storage":  {"All topics can be written.", "Look at the disk and at the server's log. A topic whose disk has failed is written again after a restart; log-cli check tells what is damaged."},
	"disk":     {"There is room on the disk.", "Make room on the disk, or keep less: retention-bytes, retention-age, log-cli trim. Topics are written again by themselves when there is room."},
	"cluster":  {"This member follows, or leads, all its groups.", "See the page Cluster for who is down and what is damaged. While a majority is up, the others go on."},
}

// health shows how the server is, in sentences.
func (v *visit) health() error {
	// While there is nobody to judge it, who may ask is not known: as with the API.
	err := v.caller.Refusal(&protocol.Request{Command: protocol.Stats})
	if err != nil && (v.console.o.Auth || !errors.Is(err, protocol.ErrBusy)) {
		return err
	}
	p := &healthPage{Ready: v.console.o.Ready() == nil, Now: visitTime{v.now}}
	for _, c := range v.console.o.Health() {
		row := healthRow{Check: c}
		known, ok := advice[c.Name]
		switch {
		case c.OK && ok:
			row.Says = known[0]
		case c.OK:
			row.Says = "The settings of this part are in force."
		case ok:
			row.Do = known[1]
		default:
			row.Do = "It goes on with the settings it had. Mend what the message names, and reload again (SIGHUP)."
		}
		if !c.OK {
			p.Failed++
		}
		p.Rows = append(p.Rows, row)
	}
	return v.show("health", &frame{Title: "Health", At: "health", Live: true, Data: p})
}

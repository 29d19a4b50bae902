package console

import (
	"cmp"
	"errors"
	"html/template"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
)

// visitTime is when a page is made.
type visitTime struct{ time.Time }

// Age returns how long ago a time was then.
func (v visitTime) Age(t time.Time) template.HTML { return age(v.Time, t) }

// topicPage is what is told of a topic.
type topicPage struct {
	Topic      string
	Info       protocol.TopicInfo
	Trouble    string
	Damaged    []damage
	Partitions []partitionRow
	NoPlan     string // why what happens to partitions is not known
	Settings   []ownSettingRow
	Own        int // settings that are the topic's own
	Positions  []positionRow
	NoPos      string
	More       bool // there are more positions
	Hooks      []hookRow
	Acts       topicActs
	Elsewhere  string // the page of the topic on the member that leads it, if that is known and another one
	Now        visitTime
}

type damage struct {
	From, To, Bytes int64
	In              string
}

type partitionRow struct {
	Base, Bytes, Messages int64 // Messages is negative if they can't be counted
	Newest                time.Time
	Words                 string
	Stand                 int // positions that are in it
}

// hookRow is a partition that waits for its delete hook.
type hookRow struct {
	protocol.PendingHook
	now time.Time
}

// Bytes returns how long the partition is.
func (h hookRow) Bytes() int64 { return h.End - h.Base }

// When returns when its hook runs next.
func (h hookRow) When() string {
	switch {
	case h.Next.IsZero():
		return "–"
	case h.Next.After(h.now):
		return "in " + ask.About(h.Next.Sub(h.now))
	}
	return "now"
}

type settingRow struct{ Name, Value string }

// leaderHTTP returns where clients of HTTP find the leader of a topic, if that is another
// member and it is known.
func (v *visit) leaderHTTP(in *protocol.TopicInfo) string {
	if v.console.o.LeaderHTTP == nil || in.Leader == "" || in.Role == protocol.Leads {
		return ""
	}
	return v.console.o.LeaderHTTP(in.Leader)
}

// showTopic shows what there is to say of a topic.
func (v *visit) showTopic() error {
	in, err := v.caller.InfoAll(v.ctx, v.topic, false)
	if err != nil {
		return err
	}
	p := &topicPage{Topic: v.topic, Info: in, Trouble: trouble(&in), Now: visitTime{v.now}}
	if at := v.leaderHTTP(&in); at != "" {
		p.Elsewhere = at + "/topics/" + v.topic
	}
	for i, d := range in.DamagedAt {
		one := damage{From: d[0], To: d[1], Bytes: d[1] - d[0]}
		if i < len(in.DamagedIn) {
			one.In = in.DamagedIn[i]
		}
		p.Damaged = append(p.Damaged, one)
	}
	all, err := v.caller.Positions(v.ctx, v.topic, "", "")
	if err != nil {
		p.NoPos = whyNot(err)
	}
	p.Positions, p.More = v.positionRows(all), len(all) == protocol.MaxPositions
	p.Acts = v.topicActs(err == nil)
	for _, h := range v.hooks() {
		p.Hooks = append(p.Hooks, hookRow{h, v.now})
	}
	plan, err := v.caller.Retention(v.ctx, v.topic, protocol.Keep{Partitions: -1, Bytes: -1, Age: -1})
	if err != nil {
		p.NoPlan = whyNot(err)
	}
	conf, err := v.caller.Config(v.ctx)
	if err != nil {
		return err
	}
	for i, one := range plan {
		row := partitionRow{Base: one.Base, Bytes: one.End - one.Base, Messages: one.Messages, Newest: one.Newest, Words: v.console.o.Words(&plan[i], i == len(plan)-1, &in, &conf)}
		for j := range all {
			at := all[j].At.Offset
			if one.Base <= at && (at < one.End || i == len(plan)-1) {
				row.Stand++
			}
		}
		p.Partitions = append(p.Partitions, row)
	}
	p.Settings, p.Own = settings(&in), in.OwnSettings()
	return v.show("topic", &frame{Title: v.topic, At: "topics", Live: true, Data: p})
}

// settings returns what is in force for a topic.
func settings(in *protocol.TopicInfo) (rows []ownSettingRow) {
	for _, s := range in.Settings {
		row := ownSettingRow{TopicSetting: s, Words: s.Value}
		switch {
		case s.Value == "0" || s.Value == "0s":
			row.Words += ": no limit"
		case s.Key == "durability":
			row.Words = cmp.Or(durabilities[s.Value], s.Value)
		}
		rows = append(rows, row)
	}
	return rows
}

// durabilities say when a message that is acknowledged is where.
var durabilities = map[string]string{
	"flushed":    "flushed: survives the end of the process, synced soon after",
	"synced":     "synced: on stable storage before it is acknowledged",
	"replicated": "replicated: on a majority of the members",
}

// ownSettingRow is a setting of a topic.
type ownSettingRow struct {
	protocol.TopicSetting
	Words string
}

// Takes says what the setting may be.
func (r ownSettingRow) Takes() string {
	return map[string]string{
		"partitions": "a number", "partition-size": "a size, such as 1GiB, for partitions that are begun from now on", "retention-age": "a duration, such as 720h; 0 for no limit", "retention-bytes": "a size, such as 10GiB; 0 for no limit",
		"topic-write-rate": "a size a second, such as 10MiB; 0 for no limit", "batch-size": "a size, such as 16KiB, at most the server's", "durability": "flushed or synced",
	}[r.Key]
}

// whyNot returns why a part of a page is not there.
func whyNot(err error) string {
	if perr, ok := errors.AsType[*protocol.Error](err); ok {
		switch {
		case errors.Is(perr, protocol.ErrUnauthorized):
			return "Your identity may not see this."
		case errors.Is(perr, protocol.ErrInvalidRequest):
			return "This server keeps none."
		}
		return "It is not known right now: " + perr.Reason + "."
	}
	return "It is not known right now."
}

// positionRow is a position in a list.
type positionRow struct {
	protocol.PositionInfo
	At     string
	Class  string
	State  string
	Behind string
	Move   bool // the visitor may move it, with Force also if another one holds it
	Force  bool
}

func (v *visit) positionRows(all []protocol.PositionInfo) []positionRow {
	rows := make([]positionRow, 0, len(all))
	for _, one := range all {
		row := positionRow{PositionInfo: one, At: ask.Place{Offset: one.At.Offset, Delta: one.At.Delta}.ID(), State: string(one.State)}
		switch one.State {
		case protocol.PositionGone:
			row.Class = "bad"
			row.State = "gone: " + ask.Size(one.LostBytes) + " were removed unread"
		case protocol.PositionStale:
			row.Class, row.State = "warn", "stale: not saved for long"
		case protocol.PositionAhead:
			row.Class, row.State = "warn", "ahead of what this member has"
		}
		if row.Move = v.mayMove(one.Topic, one.Consumer, false); row.Move {
			row.Force = v.mayMove(one.Topic, one.Consumer, true)
		}
		row.Behind = ask.Size(one.LagBytes)
		if one.LagMessages >= 0 {
			row.Behind += ", " + ask.Count(one.LagMessages) + map[bool]string{true: " message", false: " messages"}[one.LagMessages == 1]
		}
		if one.LagMS > 0 {
			row.Behind += ", " + ask.About(time.Duration(one.LagMS)*time.Millisecond)
		}
		if one.LagBytes == 0 && one.LagMessages <= 0 {
			row.Behind = "nothing"
		}
		rows = append(rows, row)
	}
	return rows
}

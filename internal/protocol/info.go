package protocol

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// TopicInfo is the body of INFO.
type TopicInfo struct {
	Oldest, Next           int64
	Partitions             int64
	Bytes                  int64
	Messages, Batches      int64
	OldestTime, NewestTime time.Time    // to the millisecond; zero for an empty log
	ID                     string       // hexadecimal; empty if there is none
	State                  string       // Writable, or ReadOnly of the reason; empty if the server does not say
	Synced                 int64        // offset: all before it is on stable storage
	Damaged                int64        // bytes set aside
	Codecs                 batch.Codecs // in which batches may be compressed
	MaxBatchSize           int64        // of the largest batch, where that is less than the server's; else 0
	Role                   Role         // of the server for the topic; empty if it does not say

	// Of a topic of a cluster, where Role is not Single.
	Group  int64
	Leader string // where clients find it; empty if nobody is known to lead
	Term   int64

	// Settings are those of the topic, each once: all of them if that was asked for, and
	// otherwise those that are its own. An older server says none.
	Settings []TopicSetting

	// DamagedAt are the ranges that were set aside, in order: the first offset of
	// each and the one behind it. DamagedIn are the names of the files in which
	// they begin. A body has the first MaxRanges.
	DamagedAt [][2]int64
	DamagedIn []string
}

// Role is what a server is to a topic.
type Role string

// The roles. Single is a server that is in no cluster.
const (
	Single   Role = "single"
	Leads    Role = "leader"
	Follower Role = "follower"
	Learner  Role = "learner" // it follows and has no vote
)

// MaxRanges is how many damaged ranges INFO names at most.
const MaxRanges = 1000

// Writable is the State of a topic that takes batches.
const Writable = "writable"

// ReadOnly returns the State of a topic that takes none, and why.
func ReadOnly(why error) string { return "read only: " + oneLine(why.Error()) }

// AppendInfo appends the body of INFO.
func AppendInfo(dst []byte, in *TopicInfo) []byte {
	number := func(name string, n int64) { dst = AppendField(dst, name, strconv.FormatInt(n, 10)) }
	number("Oldest", in.Oldest)
	number("Next", in.Next)
	number("Partitions", in.Partitions)
	number("Bytes", in.Bytes)
	number("Messages", in.Messages)
	number("Batches", in.Batches)
	dst = AppendField(dst, "OldestTime", formatTime(in.OldestTime))
	dst = AppendField(dst, "NewestTime", formatTime(in.NewestTime))
	if in.ID != "" {
		dst = AppendField(dst, "Id", in.ID)
	}
	if in.State != "" {
		dst = AppendField(dst, "State", in.State)
	}
	number("Synced", in.Synced)
	number("Damaged", in.Damaged)
	if len(in.DamagedAt) > 0 {
		dst = AppendField(dst, "DamagedAt", formatRanges(in.DamagedAt[:min(len(in.DamagedAt), MaxRanges)]))
		dst = AppendField(dst, "DamagedIn", strings.Join(in.DamagedIn[:min(len(in.DamagedIn), MaxRanges)], " "))
	}
	if in.Codecs&batch.KnownCodecs != 0 {
		dst = AppendField(dst, "Codecs", in.Codecs.String())
	}
	if in.Role != "" {
		dst = AppendField(dst, "Role", string(in.Role))
	}
	if in.Role != "" && in.Role != Single {
		number("Group", in.Group)
		dst = AppendField(dst, "Leader", in.Leader)
		number("Term", in.Term)
	}
	if in.MaxBatchSize > 0 {
		number("MaxBatchSize", in.MaxBatchSize)
	}
	for i := range in.Settings {
		s := &in.Settings[i]
		dst = AppendField(dst, settingLine(s.Key), s.Value+" "+oneLine(s.Origin))
	}
	return dst
}

// ParseInfo parses the body of INFO. The lines up to Batches must be there; a
// server that is older than another line leaves it out.
func ParseInfo(body []byte) (TopicInfo, error) {
	var in TopicInfo
	fields, err := ParseFields(body)
	if err != nil {
		return in, err
	}
	required := map[string]*int64{
		"Oldest": &in.Oldest, "Next": &in.Next, "Partitions": &in.Partitions,
		"Bytes": &in.Bytes, "Messages": &in.Messages, "Batches": &in.Batches,
	}
	for _, f := range fields {
		ok := true
		if number := required[f.Name]; number != nil {
			*number, ok = batch.ParseInt([]byte(f.Value))
			delete(required, f.Name)
		}
		switch f.Name {
		case "OldestTime":
			in.OldestTime, ok = parseTime(f.Value)
		case "NewestTime":
			in.NewestTime, ok = parseTime(f.Value)
		case "Id":
			in.ID, ok = f.Value, ValidID(f.Value)
		case "State":
			in.State = f.Value
		case "Codecs":
			in.Codecs, ok = parseCodecs(f.Value)
		case "Role":
			in.Role = Role(f.Value)
		case "Group":
			in.Group, ok = batch.ParseInt([]byte(f.Value))
		case "Leader":
			in.Leader = f.Value
		case "Term":
			in.Term, ok = batch.ParseInt([]byte(f.Value))
		case "MaxBatchSize":
			in.MaxBatchSize, ok = batch.ParseInt([]byte(f.Value))
		case "Synced":
			in.Synced, ok = batch.ParseInt([]byte(f.Value))
		case "Damaged":
			in.Damaged, ok = batch.ParseInt([]byte(f.Value))
		case "DamagedAt":
			in.DamagedAt, ok = parseRanges(f.Value)
		case "DamagedIn":
			in.DamagedIn = strings.Fields(f.Value)
		}
		if key, is := settingOfLine(f.Name); is {
			s := TopicSetting{Key: key}
			s.Value, s.Origin, ok = strings.Cut(f.Value, " ")
			in.Settings = append(in.Settings, s)
		}
		if !ok {
			return in, badField(f)
		}
	}
	for name := range required {
		return in, errors.New("there is no line " + name)
	}
	if len(in.DamagedAt) == 0 {
		in.DamagedIn = nil
	}
	if in.Oldest > in.Next {
		return in, errors.New("Oldest is " + strconv.FormatInt(in.Oldest, 10) + ", behind Next, which is " + strconv.FormatInt(in.Next, 10))
	}
	return in, nil
}

// parseTime parses a time, of which nothing is none.
func parseTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil
}

// formatRanges formats ranges of offsets: FROM-TO, with spaces between them.
func formatRanges(ranges [][2]int64) string {
	var b []byte
	for i, r := range ranges {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, r[0], 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, r[1], 10)
	}
	return string(b)
}

func parseRanges(s string) (ranges [][2]int64, ok bool) {
	for word := range strings.FieldsSeq(s) {
		from, to, _ := strings.Cut(word, "-")
		first, okFrom := batch.ParseInt([]byte(from))
		end, okTo := batch.ParseInt([]byte(to))
		if !okFrom || !okTo || first >= end {
			return nil, false
		}
		ranges = append(ranges, [2]int64{first, end})
	}
	return ranges, true
}

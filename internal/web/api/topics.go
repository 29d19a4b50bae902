package api

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Topic is what is told of a topic. What is not known is null.
type Topic struct {
	Topic      string   `json:"topic"`
	Oldest     *int64   `json:"oldest"`
	Next       *int64   `json:"next"`
	Partitions *int64   `json:"partitions"`
	Bytes      *int64   `json:"bytes"`
	Messages   *int64   `json:"messages"`
	Batches    *int64   `json:"batches"`
	OldestTime stamp    `json:"oldest_time"`
	NewestTime stamp    `json:"newest_time"`
	ID         *string  `json:"id"`
	State      *string  `json:"state"`
	Synced     *int64   `json:"synced"`
	Damaged    *int64   `json:"damaged"`
	DamagedAt  []Range  `json:"damaged_at"`
	Codecs     []string `json:"codecs"`
	Role       *string  `json:"role"`
	Group      *int64   `json:"group"`
	Leader     *string  `json:"leader"`
	Term       *int64   `json:"term"`

	// What was ever written to the topic, for rates. Offsets count bytes, also those of what
	// is gone; messages nobody counts that are gone or damaged.
	WrittenMessages *int64 `json:"written_messages"`
	WrittenBytes    *int64 `json:"written_bytes"`
}

// Range is a range of offsets.
type Range struct {
	From int64 `json:"from"`
	To   int64 `json:"to"` // the offset behind it
}

// NewTopic returns what INFO has said of a topic.
func NewTopic(name string, in *protocol.TopicInfo) *Topic {
	t := &Topic{
		Topic: name, Oldest: &in.Oldest, Next: &in.Next, Partitions: &in.Partitions, Bytes: &in.Bytes,
		Messages: &in.Messages, Batches: &in.Batches, OldestTime: stamp(in.OldestTime), NewestTime: stamp(in.NewestTime),
		ID: null(in.ID), State: null(in.State), Synced: &in.Synced, Damaged: &in.Damaged, DamagedAt: []Range{},
		Codecs: codecNames(in.Codecs), Role: null(string(in.Role)), WrittenBytes: &in.Next,
	}
	if in.Oldest == 0 && in.Damaged == 0 { // all that was ever written is there
		t.WrittenMessages = &in.Messages
	}
	for _, r := range in.DamagedAt {
		t.DamagedAt = append(t.DamagedAt, Range{r[0], r[1]})
	}
	if in.Role != "" && in.Role != protocol.Single {
		t.Group, t.Leader, t.Term = &in.Group, null(in.Leader), &in.Term
	}
	return t
}

func codecNames(c batch.Codecs) []string {
	return strings.FieldsFunc(c.String(), func(c rune) bool { return c == ',' })
}

// Topics are a page of topics.
type Topics struct {
	Topics []*Topic `json:"topics"`
	Next   *string  `json:"next"` // the after= of the next page; null on the last
	Time   stamp    `json:"time"`
}

// The numbers of topics of a page.
const (
	defaultTopics = 1000
	maxTopics     = 10_000
)

// ListTopics returns a page of the topics that the caller may see: so many behind one, or
// from the first on, whose names match a pattern, which is one of path.Match or empty.
func ListTopics(ctx context.Context, c *ask.Caller, after string, limit int, match string) (*Topics, error) {
	if _, err := path.Match(match, ""); err != nil {
		return nil, problem.New(problem.InvalidRequest, fmt.Sprintf(
			"match=%q is no pattern: * is any bytes, ? any one, [a-z] one of these.", clip(match)))
	}
	names, err := c.Topics(ctx, false)
	if err != nil {
		return nil, err
	}
	page := &Topics{Topics: []*Topic{}, Time: stamp(time.Now())}
	i, found := slices.BinarySearch(names, after)
	if found {
		i++
	}
	for _, name := range names[i:] {
		if match != "" {
			if ok, _ := path.Match(match, name); !ok {
				continue
			}
		}
		if len(page.Topics) == limit {
			page.Next = &page.Topics[limit-1].Topic
			break
		}
		in, err := c.Info(ctx, name, false)
		switch {
		case err == nil:
			page.Topics = append(page.Topics, NewTopic(name, &in))
		case err == protocol.ErrNotFound: // it is gone by now
		case ctx.Err() != nil:
			return nil, protocol.ErrBusy
		default:
			page.Topics = append(page.Topics, &Topic{Topic: name})
		}
	}
	return page, nil
}

func listTopics(r *request) error {
	limit, err := r.number("limit", defaultTopics, 1, maxTopics)
	if err != nil {
		return err
	}
	ctx, cancel := r.timed()
	defer cancel()
	page, err := ListTopics(ctx, r.caller, r.query.Get("after"), int(limit), r.query.Get("match"))
	if err != nil {
		return err
	}
	return r.json(200, page)
}

// TopicDetails are a topic, and where its consumers are: the first protocol.MaxPositions of
// them that the caller may see, or null if none are kept.
type TopicDetails struct {
	*Topic
	Positions []*Position `json:"positions"`
	Settings  *Settings   `json:"settings"`
}

func showTopic(r *request) error {
	fresh, err := r.flag("fresh")
	if err != nil {
		return err
	}
	ctx, cancel := r.timed()
	defer cancel()
	in, err := r.caller.InfoAll(ctx, r.topic, fresh)
	if err != nil {
		return r.noTopic(err)
	}
	if in.ID != "" {
		r.w.Header().Set("ETag", `"`+in.ID+`"`)
	}
	details := TopicDetails{Topic: NewTopic(r.topic, &in), Settings: newSettings(&in)}
	positions, err := r.caller.Positions(ctx, r.topic, "", "")
	if err == nil {
		details.Positions = []*Position{}
		for i := range positions {
			details.Positions = append(details.Positions, NewPosition(&positions[i]))
		}
	} else if err != protocol.ErrInvalidRequest {
		return err
	}
	return r.json(200, details)
}

package admin

import (
	"context"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// TopicInfo is what a server knows of a topic. What readers and writers need of it
// is in [logd.TopicInfo] as well.
type TopicInfo struct {
	// Oldest is the first offset still stored, Next the one that the next
	// batch will get. They are equal if the topic is empty.
	Oldest, Next int64
	// Partitions is the number of files, Bytes their length.
	Partitions, Bytes int64
	// Messages and Batches are how many are stored.
	Messages, Batches int64
	// OldestTime and NewestTime are when the first and the last of the stored
	// batches came, by the server's clock; zero if the topic is empty.
	OldestTime, NewestTime time.Time
	// ID tells the topic from others that have had its name: it is what
	// DeleteOptions.ID takes. It is empty if the server does not say.
	ID string
	// State is "writable", or "read only: " and why the topic takes no batches. It
	// is empty if the server does not say.
	State string
	// Synced is the offset before which all is on stable storage; 0 if the server
	// does not say.
	Synced int64
	// Damaged is how many bytes the server has set aside because they are damaged,
	// DamagedAt where. Of more than a thousand ranges the server names the first ones.
	Damaged   int64
	DamagedAt []DamagedRange
	// Role is what the server is to the topic: "single" if it is in no cluster, else
	// "leader", "follower" or "learner"; empty if the server does not say. In a cluster,
	// Group is the topic's, Leader where clients find that group's leader, empty if none
	// is known, and Term how often one was to be elected.
	Role   string
	Group  int64
	Leader string
	Term   int64
	// MaxBatchSize is the length of the largest batch of the topic, where that is less than
	// the server's; else 0.
	MaxBatchSize int64
	// Settings are those of the topic; nil if the server does not say.
	Settings []TopicSetting
	// Fields are all lines of the answer, those above included.
	Fields []Field
}

// DamagedRange is a range of a topic's offsets at which nothing can be read: what
// is stored goes on behind it.
type DamagedRange struct {
	// From is the first offset of the range, To the one behind it.
	From, To int64
	// File is the partition's file in the server's work directory; empty if the
	// server does not say.
	File string
}

// Info describes a topic. The error is logd.ErrNoTopic if there is none of that
// name.
func (c *Client) Info(ctx context.Context, topic string) (TopicInfo, error) {
	info, err := c.infoWithSettings(ctx, topic)
	return info, noTopic(err)
}

func parseInfo(body []byte) (info TopicInfo, err error) {
	fields, err := parseFields(body)
	if err != nil {
		return info, err
	}
	in, err := protocol.ParseInfo(body)
	if err != nil {
		return info, err
	}
	info = TopicInfo{
		Oldest: in.Oldest, Next: in.Next, Partitions: in.Partitions, Bytes: in.Bytes, Messages: in.Messages, Batches: in.Batches,
		OldestTime: in.OldestTime, NewestTime: in.NewestTime, ID: in.ID, State: in.State, Synced: in.Synced, Damaged: in.Damaged,
		Role: string(in.Role), Group: in.Group, Leader: in.Leader, Term: in.Term,
		MaxBatchSize: in.MaxBatchSize, Fields: fields,
	}
	for i := range in.Settings {
		s := &in.Settings[i]
		info.Settings = append(info.Settings, TopicSetting{s.Key, s.Value, s.Origin, s.Own()})
	}
	for i, r := range in.DamagedAt {
		damaged := DamagedRange{From: r[0], To: r[1]}
		if i < len(in.DamagedIn) {
			damaged.File = in.DamagedIn[i]
		}
		info.DamagedAt = append(info.DamagedAt, damaged)
	}
	return info, nil
}

package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Plan is what retention has in mind for a topic.
type Plan struct {
	Topic      string    `json:"topic"`
	Partitions []Planned `json:"partitions"`
}

// Planned is what retention has in mind for a partition.
type Planned struct {
	Base            int64    `json:"base"`
	End             int64    `json:"end"`
	Bytes           int64    `json:"bytes"`
	Messages        *int64   `json:"messages"`
	Newest          stamp    `json:"newest"`
	Verdict         string   `json:"verdict"`
	Why             *string  `json:"why"`
	AfterPartitions *int64   `json:"after_partitions"`
	AfterBytes      *int64   `json:"after_bytes"`
	At              stamp    `json:"at"`
	Words           string   `json:"words"`
	Positions       []string `json:"positions"` // consumers that are not beyond its end
}

func showRetention(r *request) error {
	keep := protocol.Keep{Partitions: -1, Bytes: -1, Age: -1}
	var err error
	if keep.Partitions, err = r.number("partitions", -1, 0, 1<<40); err != nil {
		return err
	}
	if keep.Bytes, err = r.number("bytes", -1, 0, 1<<60); err != nil {
		return err
	}
	if text := r.query.Get("age"); r.query.Has("age") {
		if keep.Age, err = time.ParseDuration(text); err != nil || keep.Age < 0 {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("age=%q is wrong: want a duration such as 720h.", clip(text)))
		}
	}
	ctx, cancel := r.timed()
	defer cancel()
	return r.plan(ctx, keep)
}

// plan answers with what retention has in mind if so much is kept.
func (r *request) plan(ctx context.Context, keep protocol.Keep) error {
	in, err := r.caller.Info(ctx, r.topic, false)
	if err != nil {
		return r.noTopic(err)
	}
	plan, err := r.caller.Retention(ctx, r.topic, keep)
	if err != nil {
		return r.noTopic(err)
	}
	conf, err := r.caller.Config(ctx)
	if err != nil {
		return err
	}
	positions, err := r.caller.AllPositions(ctx, r.topic)
	if err != nil && err != protocol.ErrInvalidRequest { // which is that none are kept
		return err
	}
	out := Plan{Topic: r.topic, Partitions: []Planned{}}
	for i := range plan {
		p := &plan[i]
		line := Planned{
			Base: p.Base, End: p.End, Bytes: p.End - p.Base, Newest: stamp(p.Newest), Verdict: p.Verdict, Why: null(p.Why),
			At: stamp(p.At), Words: Words(p, i == len(plan)-1, &in, &conf), Positions: []string{},
		}
		for key, n := range map[**int64]int64{&line.Messages: p.Messages + 1, &line.AfterPartitions: p.AfterPartitions, &line.AfterBytes: p.AfterBytes} {
			if n > 0 {
				*key = &n
			}
		}
		if line.Messages != nil {
			*line.Messages--
		}
		for _, c := range positions {
			if c.At.Offset < p.End {
				line.Positions = append(line.Positions, c.Consumer)
			}
		}
		out.Partitions = append(out.Partitions, line)
	}
	return r.json(200, out)
}

// Words says what happens to a partition, and when, as far as that can be foreseen by the
// rate at which the topic is written. newest tells that it is the one that is written.
func Words(p *protocol.PlannedPartition, newest bool, in *protocol.TopicInfo, conf *protocol.Settings) string {
	why := map[string]string{
		"partitions": ", as there are more partitions than are kept", "retention-bytes": ", as the topic has more bytes than are kept", "retention-age": ", as it is older than what is kept",
	}[p.Why] // nothing of one that was trimmed
	switch p.Verdict {
	case "remove":
		return "goes now" + why
	case "held":
		return "waits for its delete hook" + why
	}
	var rate float64 // bytes a second
	if span := in.NewestTime.Sub(in.OldestTime); span > time.Minute {
		rate = float64(in.Bytes) / span.Seconds()
	}
	about := func(bytes int64) string {
		if rate <= 0 {
			return ""
		}
		return ", about " + roughly(time.Duration(float64(bytes)/rate*float64(time.Second)))
	}
	var when []string
	if n := p.AfterPartitions; n > 0 {
		text := fmt.Sprintf("when %d more partitions are begun", n)
		if n == 1 {
			text = "when 1 more partition is begun"
		}
		if conf.PartitionSize > 0 {
			text += about(n * conf.PartitionSize)
		}
		when = append(when, text)
	}
	if n := p.AfterBytes; n > 0 {
		when = append(when, fmt.Sprintf("when %d more bytes are written", n)+about(n))
	}
	if !p.At.IsZero() {
		when = append(when, "at "+p.At.UTC().Format(stampLayout))
	}
	text := "stays"
	if len(when) > 0 {
		text = "goes " + strings.Join(when, ", or ")
	}
	if newest {
		text = "is written now; " + text
	}
	return text
}

// roughly says a duration as people do.
func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}

package protocol

import "time"

// PendingHook is a line of HOOKS: a partition that waits for its delete hook.
type PendingHook struct {
	Topic     string
	Base, End int64
	State     string // one word
	Attempts  int64
	Next      time.Time // of the next attempt, to the millisecond; zero if none is foreseen
	Error     string    // of the last attempt
}

// AppendHook appends a line of HOOKS.
func AppendHook(dst []byte, h *PendingHook) []byte {
	p := pairs{dst}
	p.text("topic", h.Topic)
	p.number("base", h.Base)
	p.number("end", h.End)
	p.text("state", h.State)
	p.number("attempts", h.Attempts)
	p.time("next", h.Next)
	if h.Error != "" {
		p.text("error", oneLine(h.Error))
	}
	return p.end()
}

// ParseHooks parses the body of HOOKS.
func ParseHooks(body []byte) ([]PendingHook, error) {
	var hooks []PendingHook
	for line := range bodyLines(body) {
		var h PendingHook
		err := parsePairs(line, map[string]any{
			"topic": &h.Topic, "base": &h.Base, "end": &h.End, "state": &h.State,
			"attempts": &h.Attempts, "next": &h.Next, "error": &h.Error,
		})
		if err != nil {
			return nil, err
		}
		h.Error = oneLine(h.Error)
		hooks = append(hooks, h)
	}
	return hooks, nil
}

// PlannedPartition is a line of RETENTION: what retention has in mind for a
// partition.
type PlannedPartition struct {
	Base, End int64
	Verdict   string    // "remove", "held" until its delete hook has succeeded, or "keep"
	Why       string    // name of the setting that removes it; empty if it is kept
	Messages  int64     // negative if they can't be counted
	Newest    time.Time // of its batches, to the millisecond; zero for none

	// What removes a partition that is kept if nothing else does first: so many
	// more partitions begun, so many more bytes written, that time. Zero where
	// the settings do not limit.
	AfterPartitions, AfterBytes int64
	At                          time.Time
}

// AppendPlanned appends a line of RETENTION.
func AppendPlanned(dst []byte, pp *PlannedPartition) []byte {
	p := pairs{dst}
	p.number("base", pp.Base)
	p.number("end", pp.End)
	p.text("verdict", pp.Verdict)
	if pp.Why != "" {
		p.text("why", pp.Why)
	}
	if pp.Messages >= 0 {
		p.number("messages", pp.Messages)
	}
	p.time("newest", pp.Newest)
	if pp.AfterPartitions > 0 {
		p.number("after-partitions", pp.AfterPartitions)
	}
	if pp.AfterBytes > 0 {
		p.number("after-bytes", pp.AfterBytes)
	}
	p.time("at", pp.At)
	return p.end()
}

// ParsePlan parses the body of RETENTION.
func ParsePlan(body []byte) ([]PlannedPartition, error) {
	var plan []PlannedPartition
	for line := range bodyLines(body) {
		p := PlannedPartition{Messages: -1}
		err := parsePairs(line, map[string]any{
			"base": &p.Base, "end": &p.End, "messages": &p.Messages, "newest": &p.Newest, "verdict": &p.Verdict, "why": &p.Why,
			"after-partitions": &p.AfterPartitions, "after-bytes": &p.AfterBytes, "at": &p.At,
		})
		if err != nil {
			return nil, err
		}
		plan = append(plan, p)
	}
	return plan, nil
}

package api

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/logd-dev/logd/internal/overrides"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Settings are those that count for a topic.
type Settings struct {
	Partitions     *Setting `json:"partitions"`
	PartitionSize  *Setting `json:"partition_size"`
	RetentionAge   *Setting `json:"retention_age"`
	RetentionBytes *Setting `json:"retention_bytes"`
	BatchSize      *Setting `json:"batch_size"`
	TopicWriteRate *Setting `json:"topic_write_rate"`
	Durability     *Setting `json:"durability"`
}

// Setting is a value as the configuration file has it, and where it is from. Own tells that
// it is one for topics, not the server's for all.
type Setting struct {
	Value  string `json:"value"`
	Origin string `json:"origin"`
	Own    bool   `json:"own"`
}

// newSettings returns what INFO tells of settings, or nil if it tells none.
func newSettings(in *protocol.TopicInfo) *Settings {
	if len(in.Settings) == 0 {
		return nil
	}
	s := new(Settings)
	fields := map[string]**Setting{
		"partitions": &s.Partitions, "partition-size": &s.PartitionSize, "retention-age": &s.RetentionAge, "retention-bytes": &s.RetentionBytes,
		"batch-size": &s.BatchSize, "topic-write-rate": &s.TopicWriteRate, "durability": &s.Durability,
	}
	for i := range in.Settings {
		v := &in.Settings[i]
		if f := fields[v.Key]; f != nil {
			*f = &Setting{v.Value, v.Origin, v.Own()}
		}
	}
	return s
}

// TopicSettings are the settings of a topic.
type TopicSettings struct {
	Topic    string    `json:"topic"`
	Settings *Settings `json:"settings"`
}

func showSettings(r *request) error {
	fresh, err := r.flag("fresh")
	if err != nil {
		return err
	}
	return r.settings(fresh)
}

// settings answers with the settings of the topic.
func (r *request) settings(fresh bool) error {
	ctx, cancel := r.timed()
	defer cancel()
	in, err := r.caller.InfoAll(ctx, r.topic, fresh)
	if err != nil {
		return r.noTopic(err)
	}
	return r.json(200, TopicSettings{r.topic, newSettings(&in)})
}

// patchKeys are the keys that a patch of settings may have.
func patchKeys() (keys []string) {
	for _, name := range overrides.Names() {
		keys = append(keys, strings.ReplaceAll(name, "-", "_"))
	}
	return keys
}

// changeSettings takes a merge patch of the topic's settings.
func changeSettings(r *request) error {
	dry, err := r.flag("dry_run")
	if err != nil {
		return err
	}
	// Who may not is told that before anything else.
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Set, Topic: []byte(r.topic), Key: []byte("partitions"), Value: []byte(overrides.Unset)}); err != nil {
		return err
	}
	if !dry {
		if err := r.caller.Elsewhere(""); err != nil {
			return err
		}
	}
	patch, err := r.members(patchKeys()...)
	if err != nil {
		return err
	}
	ctx, cancel := r.timed()
	defer cancel()
	if _, err := r.caller.Info(ctx, r.topic, false); err != nil {
		return r.noTopic(err)
	}
	keep := protocol.Keep{Partitions: -1, Bytes: -1, Age: -1}
	values := make(map[overrides.Key]string)
	for _, k := range overrides.Keys() {
		raw, ok := patch[strings.ReplaceAll(k.String(), "-", "_")]
		if !ok {
			continue
		}
		text, err := settingText(k, raw)
		if err != nil {
			return err
		}
		if _, err := overrides.Change(k.String(), text, r.topic); err != nil {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("The setting can't be: %v.", err))
		}
		tried, err := r.caller.TrySetting(ctx, r.topic, k.String(), text)
		if err == protocol.ErrInvalidRequest {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("Topics can't have %s = %s here: batch_size is at most the server's.", k, clip(text)))
		}
		if err != nil {
			return err
		}
		values[k] = text
		for _, t := range tried {
			if err := keepAs(&keep, k, t.Value); err != nil {
				return err
			}
		}
	}
	if dry {
		return r.plan(ctx, keep)
	}
	for _, k := range overrides.Keys() {
		text, ok := values[k]
		if !ok {
			continue
		}
		if _, err := r.caller.Ask(ctx, &protocol.Request{Command: protocol.Set, Topic: []byte(r.topic), Key: []byte(k.String()), Value: []byte(text)}); err != nil {
			return err
		}
	}
	return r.settings(false)
}

// settingText returns the value of a setting as the protocol has it: null takes away.
func settingText(k overrides.Key, raw json.RawMessage) (string, error) {
	var text string
	switch {
	case string(raw) == "null":
		return overrides.Unset, nil
	case len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &text) == nil && text != overrides.Unset:
		return text, nil
	case json.Unmarshal(raw, new(int64)) == nil && k != overrides.RetentionAge && k != overrides.Durability:
		return string(raw), nil
	}
	return "", problem.New(problem.InvalidRequest, fmt.Sprintf("%q is wrong: want a value as text, as the configuration file has it, or null to take it away.", strings.ReplaceAll(k.String(), "-", "_")))
}

// keepAs has keep be what a setting says, if it is about that.
func keepAs(keep *protocol.Keep, k overrides.Key, text string) error {
	v, err := overrides.Read(k, text)
	if err != nil {
		return err
	}
	switch k {
	case overrides.Partitions:
		keep.Partitions = int64(v.Partitions)
	case overrides.RetentionBytes:
		keep.Bytes = v.RetentionBytes
	case overrides.RetentionAge:
		keep.Age = v.RetentionAge
	}
	return nil
}

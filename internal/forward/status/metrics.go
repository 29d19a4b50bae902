package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// Figures are what the agent counts, at one moment.
type Figures struct {
	Inputs []InputFigures
	Topics []TopicFigures

	SpoolBytes, LedgerBytes, UnlinkedOpenBytes int64 // on the disk
	DeadMessages                               int64
	ServerConnected, ReloadFailed              bool
	Version                                    string
}

// InputFigures are those of one input.
type InputFigures struct {
	Input                         string
	TakenMessages, TakenBytes     int64
	StoredMessages, StoredBytes   int64
	Holes                         map[feed.Kind]HoleFigures
	BlockedSeconds                float64
	Connections, Files, FilesOpen int64 // now
	LagBytes                      int64
	LagSeconds                    float64 // of the oldest byte that is not stored
	Rotations, Truncations        int64
	Copies                        int64
	NULBytesSkipped               int64
	LinesSplit, ParseFailures     int64
}

// HoleFigures are those of the holes of one kind.
type HoleFigures struct{ Holes, Messages, Bytes int64 }

// TopicFigures are those of one lane.
type TopicFigures struct {
	Topic, State       string // one of LaneStates
	Batches, Resent    int64
	PossibleDuplicates int64
}

// LaneStates are the states of a lane.
var LaneStates = []string{"ok", "retrying", "refused"}

const prefix = "logd_forwarder_"

// metric is a metric, and how its values are got.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	collect    func(f *Figures, emit func(v float64, labels ...string))
}

// ofInput is a metric of each input.
func ofInput(name string, kind prometheus.ValueType, help string, value func(*InputFigures) float64) metric {
	return metric{name, help, kind, []string{"input"}, func(f *Figures, emit func(float64, ...string)) {
		for i := range f.Inputs {
			emit(value(&f.Inputs[i]), f.Inputs[i].Input)
		}
	}}
}

// ofHoles is a metric of each input and kind. All kinds are there, so that a hole that
// comes is an increase.
func ofHoles(name, help string, value func(HoleFigures) int64) metric {
	return metric{name, help, prometheus.CounterValue, []string{"input", "kind"}, func(f *Figures, emit func(float64, ...string)) {
		for i := range f.Inputs {
			for _, kind := range feed.Kinds {
				emit(float64(value(f.Inputs[i].Holes[kind])), f.Inputs[i].Input, string(kind))
			}
		}
	}}
}

// ofTopic is a metric of each lane.
func ofTopic(name, help string, value func(*TopicFigures) int64) metric {
	return metric{name, help, prometheus.CounterValue, []string{"topic"}, func(f *Figures, emit func(float64, ...string)) {
		for i := range f.Topics {
			emit(float64(value(&f.Topics[i])), f.Topics[i].Topic)
		}
	}}
}

// single is a metric of the agent.
func single(name, help string, value func(*Figures) float64) metric {
	return metric{name, help, prometheus.GaugeValue, nil, func(f *Figures, emit func(float64, ...string)) { emit(value(f)) }}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// metrics are all metrics, in the order of the documentation.
var metrics = []metric{
	ofInput("taken_messages_total", counter, "Messages that the agent answers for.", func(i *InputFigures) float64 { return float64(i.TakenMessages) }),
	ofInput("taken_bytes_total", counter, "Bytes of messages that the agent answers for.", func(i *InputFigures) float64 { return float64(i.TakenBytes) }),
	ofInput("stored_messages_total", counter, "Messages that logd has stored.", func(i *InputFigures) float64 { return float64(i.StoredMessages) }),
	ofInput("stored_bytes_total", counter, "Bytes of messages that logd has stored.", func(i *InputFigures) float64 { return float64(i.StoredBytes) }),
	ofHoles("holes_total", "Holes: what was there and will not be stored.", func(h HoleFigures) int64 { return h.Holes }),
	ofHoles("hole_messages_total", "Messages in holes, as far as their number is known.", func(h HoleFigures) int64 { return h.Messages }),
	ofHoles("hole_bytes_total", "Bytes in holes.", func(h HoleFigures) int64 { return h.Bytes }),
	ofInput("blocked_seconds_total", counter, "Time that sources have waited for room.", func(i *InputFigures) float64 { return i.BlockedSeconds }),
	ofInput("connections", gauge, "Connections of senders that are open.", func(i *InputFigures) float64 { return float64(i.Connections) }),
	ofInput("files", gauge, "Files that are known.", func(i *InputFigures) float64 { return float64(i.Files) }),
	ofInput("files_open", gauge, "Files that are open.", func(i *InputFigures) float64 { return float64(i.FilesOpen) }),
	ofInput("lag_bytes", gauge, "Bytes that are there and not stored.", func(i *InputFigures) float64 { return float64(i.LagBytes) }),
	ofInput("lag_seconds", gauge, "Time since the oldest byte was seen that is not stored.", func(i *InputFigures) float64 { return i.LagSeconds }),
	ofInput("rotations_total", counter, "Files that were renamed, or replaced by another.", func(i *InputFigures) float64 { return float64(i.Rotations) }),
	ofInput("truncations_total", counter, "Files that became shorter than what was read.", func(i *InputFigures) float64 { return float64(i.Truncations) }),
	ofInput("copies_total", counter, "Files that were copies of known ones.", func(i *InputFigures) float64 { return float64(i.Copies) }),
	ofInput("nul_bytes_skipped_total", counter, "NUL bytes at the start of truncated files.", func(i *InputFigures) float64 { return float64(i.NULBytesSkipped) }),
	ofInput("lines_split_total", counter, "Lines that were longer than max-line, and were split.", func(i *InputFigures) float64 { return float64(i.LinesSplit) }),
	ofInput("parse_failures_total", counter, "Messages of syslog that can't be parsed; they are stored all the same.", func(i *InputFigures) float64 { return float64(i.ParseFailures) }),
	{"lane_state", "1 for the state of the topic's lane: ok, retrying or refused.", gauge, []string{"topic", "state"}, func(f *Figures, emit func(float64, ...string)) {
		for i := range f.Topics {
			for _, state := range LaneStates {
				emit(truth(f.Topics[i].State == state), f.Topics[i].Topic, state)
			}
		}
	}},
	ofTopic("batches_total", "Batches that logd has stored.", func(t *TopicFigures) int64 { return t.Batches }),
	ofTopic("resent_batches_total", "Batches that were sent again.", func(t *TopicFigures) int64 { return t.Resent }),
	ofTopic("possible_duplicates_total", "Batches that logd may have stored twice.", func(t *TopicFigures) int64 { return t.PossibleDuplicates }),
	single("spool_bytes", "Bytes that the spool has on the disk.", func(f *Figures) float64 { return float64(f.SpoolBytes) }),
	single("ledger_bytes", "Bytes that the ledger has on the disk.", func(f *Figures) float64 { return float64(f.LedgerBytes) }),
	single("dead_messages", "Messages that logd refused for what they are, kept in dead/.", func(f *Figures) float64 { return float64(f.DeadMessages) }),
	single("unlinked_open_bytes", "Bytes not stored of removed files that are kept open.", func(f *Figures) float64 { return float64(f.UnlinkedOpenBytes) }),
	single("server_connected", "1 if a server answers.", func(f *Figures) float64 { return truth(f.ServerConnected) }),
	single("reload_failed", "1 if the last reload was refused.", func(f *Figures) float64 { return truth(f.ReloadFailed) }),
	{"build_info", "1, with the version.", gauge, []string{"version"}, func(f *Figures, emit func(float64, ...string)) { emit(1, f.Version) }},
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var descs = func() (all []*prometheus.Desc) {
	for _, m := range metrics {
		all = append(all, prometheus.NewDesc(prefix+m.name, m.help, m.labels, nil))
	}
	return all
}()

// collector makes metrics of the agent's figures when they are asked for.
type collector struct{ agent Agent }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	f := c.agent.Figures()
	for i, m := range metrics {
		m.collect(&f, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(descs[i], m.kind, v, labels...)
		})
	}
}

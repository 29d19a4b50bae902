package node

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/storage"
)

// metrics are what /metrics shows. Counters are read from the server and the
// store when they are asked for, so that counting costs an atomic addition and
// no more; only the durations are kept here.
type metrics struct {
	node     *Node
	registry *prometheus.Registry
	appends  prometheus.Histogram
	checks   prometheus.Histogram // of compressed batches
	packed   packed
	syncs    prometheus.Histogram
	rounds   prometheus.Histogram
	files    prometheus.Histogram
	commits  prometheus.Histogram
	topics   topicInfos

	desc map[string]*prometheus.Desc
}

// durations reaches from 10 microseconds, a write to the page cache, to 10
// seconds, a disk in trouble.
var durations = []float64{
	10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 10,
}

func newMetrics(n *Node) *metrics {
	m := &metrics{node: n, registry: prometheus.NewRegistry(), desc: make(map[string]*prometheus.Desc)}
	m.topics.ctx, m.topics.cancel = context.WithCancel(context.Background())
	m.appends = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "logd_append_duration_seconds", Help: "Time to write a group of appends to a partition.", Buckets: durations,
	})
	m.syncs = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "logd_sync_duration_seconds", Help: "Time to make what was appended to a topic durable.", Buckets: durations,
	})
	m.rounds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "logd_sync_round_seconds", Help: "Time to make durable what all groups of the member had written.", Buckets: durations,
	})
	m.files = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "logd_sync_round_files", Help: "Files that such a sync was of.", Buckets: []float64{1, 2, 3, 4, 8, 16, 64, 256, 1024},
	})
	m.commits = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "logd_commit_seconds", Help: "Time from when an entry was proposed here until a majority had stored it.", Buckets: durations,
	})
	m.checks = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "logd_codec_check_duration_seconds", Help: "Time to unpack a compressed batch and look into it.", Buckets: durations,
	})
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"logd_build_info", "Always 1; the version is a label.", []string{"version"}},
		{"logd_reloads_total", "Times that settings or files were taken anew, by whether that went well.", []string{"result"}},
		{"logd_config_last_reload_success_timestamp_seconds", "When settings or files were taken last, since 1970.", nil},
		{"logd_requests_total", "Requests, by command.", []string{"command"}},
		{"logd_errors_total", "Error answers, by command.", []string{"command"}},
		{"logd_error_answers_total", "Error answers, by command and reason.", []string{"command", "reason"}},
		{"logd_received_bytes_total", "Bytes received from clients.", nil},
		{"logd_sent_bytes_total", "Bytes sent to clients.", nil},
		{"logd_sendfile_calls_total", "Calls of sendfile that sent something.", nil},
		{"logd_batches_total", "Batches acknowledged.", nil},
		{"logd_messages_total", "Messages acknowledged.", nil},
		{"logd_compressed_batches_total", "Compressed batches that were looked into and found good, by codec.", []string{"codec"}},
		{"logd_compressed_bytes_total", "Bytes of their data as it came.", []string{"codec"}},
		{"logd_uncompressed_bytes_total", "Bytes of their data, unpacked.", []string{"codec"}},
		{"logd_connections", "Open connections.", nil},
		{"logd_connections_total", "Connections accepted.", nil},
		{"logd_connections_refused_total", "Connections refused because there were too many.", nil},
		{"logd_tls_handshakes_total", "Handshakes of TLS, by listener and how they ended.", []string{"listener", "result"}},
		{"logd_tls_certificate_expiry_timestamp_seconds", "When the listener's certificate ends, in seconds since 1970.", []string{"listener"}},
		{"logd_http_refused_total", "Requests over HTTP that a web page may have made a browser send, by what gave them away.", []string{"reason"}},
		{"logd_auth_total", "What was shown of who somebody is, by how and whether it was somebody.", []string{"method", "result"}},
		{"logd_denied_total", "Requests that no rule allows, by what they would have taken.", []string{"verb"}},
		{"logd_unauthenticated_connections", "Open connections whose handshake is not done, or that have not shown who they are, where that is needed.", nil},
		{"logd_throttled_total", "Requests that waited or were refused as they were over a quota, and connections that were refused so, by what the quota is of.", []string{"kind"}},
		{"logd_panics_total", "Connections that ended in a panic.", nil},
		{"logd_waiting_reads", "Reads that wait at the end of a topic.", nil},
		{"logd_read_misses_total", "Reads of offsets that do not exist.", nil},
		{"logd_duplicates_total", "Numbered batches that came again and were not stored again.", nil},
		{"logd_topics", "Topics.", nil},
		{"logd_topics_disallowed_total", "New topics refused by the whitelist or the limit.", nil},
		{"logd_ready", "1 if all requests are taken, as /readyz says, else 0.", nil},
		{"logd_disk_size_bytes", "Size of the file system of the work directory.", nil},
		{"logd_disk_free_bytes", "Room on the file system of the work directory.", nil},
		{"logd_open_files", "Partition, index and journal files open.", nil},
		{"logd_delete_hooks_pending", "Partitions that wait for their delete hook.", nil},
		{"logd_delete_hooks_total", "Delete hooks that ended, by how.", []string{"result"}},
		{"logd_partitions_forced_total", "Partitions removed although their delete hook had not succeeded.", nil},
		{"logd_scrub_bytes_total", "Bytes that were checked on the disk.", nil},
		{"logd_scrub_damage_total", "Places where that has found damage.", nil},
		{"logd_scrub_passed_timestamp_seconds", "When all that is stored was last checked, since 1970; 0 for never.", nil},
		{"logd_group_leader", "1 if this member leads the group, else 0.", []string{"group"}},
		{"logd_group_term", "Term of the group, as this member knows it.", []string{"group"}},
		{"logd_group_commit_index", "Newest entry of the group that is known to be stored on a majority.", []string{"group"}},
		{"logd_group_applied_index", "Newest entry of the group that readers here see.", []string{"group"}},
		{"logd_group_log_bytes", "Bytes that the entries of the group have in the member log.", []string{"group"}},
		{"logd_elections_total", "Elections in which this member has stood.", nil},
		{"logd_leader_changes_total", "Changes of a group's leader that this member has seen.", nil},
		{"logd_peer_up", "1 if another member was heard lately, else 0.", []string{"peer"}},
		{"logd_peer_lag_bytes", "Bytes that this member has and another one does not have yet.", []string{"peer"}},
		{"logd_peer_lag_seconds", "For how long another member has not had all.", []string{"peer"}},
		{"logd_peer_sent_bytes_total", "Bytes sent to another member.", []string{"peer"}},
		{"logd_uncommitted_bytes", "Bytes that wait to be stored on a majority.", nil},
		{"logd_refilled_bytes_total", "Bytes that were damaged or missing here, and fetched from other members.", nil},
		{"logd_catch_up_bytes_total", "Bytes that were fetched from other members to catch up.", nil},
		{"logd_in_doubt_total", "Entries proposed here of which this member can't tell whether they are stored.", nil},
		{"logd_proposals_dropped_total", "Requests that were not taken as this member did not lead, or had too much to do.", nil},
		{"logd_positions", "Positions of consumers, by how they stand to their topic.", []string{"state"}},
		{"logd_positions_not_exported", "Positions that have no values of their own here, since there are too many.", nil},
		{"logd_position_lag_bytes", "Bytes of a topic that are stored from a consumer's position on.", []string{"topic", "consumer"}},
		{"logd_position_lag_seconds", "Age of the message at a consumer's position, 0 at the end.", []string{"topic", "consumer"}},
		{"logd_position_lost_bytes", "Bytes that were removed before a consumer had done them.", []string{"topic", "consumer"}},
		{"logd_topic_position_lag_bytes_max", "Lag of the consumer of a topic that is the furthest behind.", []string{"topic"}},
		{"logd_topic_partitions", "Partitions of a topic.", []string{"topic"}},
		{"logd_topic_oldest_offset", "Oldest offset of a topic.", []string{"topic"}},
		{"logd_topic_next_offset", "Offset the next batch of a topic gets.", []string{"topic"}},
		{"logd_topic_bytes", "Bytes of a topic that can be read.", []string{"topic"}},
		{"logd_topic_messages", "Messages of a topic.", []string{"topic"}},
		{"logd_topic_oldest_timestamp_seconds", "When the oldest batch of a topic was stored.", []string{"topic"}},
		{"logd_topic_newest_timestamp_seconds", "When the newest batch of a topic was stored.", []string{"topic"}},
		{"logd_topic_unsynced_bytes", "Bytes of a topic that are not on stable storage.", []string{"topic"}},
		{"logd_topic_damaged_bytes", "Bytes of a topic that are set aside as damaged.", []string{"topic"}},
		{"logd_topic_read_only", "1 if a topic takes no appends, else 0.", []string{"topic"}},
	} {
		m.desc[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
	}
	if n.o.Config.Node != "" {
		m.registry.MustRegister(m.rounds, m.files, m.commits)
	}
	m.registry.MustRegister(m, m.appends, m.syncs, m.checks, collectors.NewGoCollector(),
		withoutNetwork{collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})})
	return m
}

// Appended implements storage.Observer.
func (m *metrics) Appended(took time.Duration, _, _, _ int64) { m.appends.Observe(took.Seconds()) }

// Synced implements storage.Observer.
func (m *metrics) Synced(took time.Duration) { m.syncs.Observe(took.Seconds()) }

// SyncRound and Committed implement cluster.Observer.
func (m *metrics) SyncRound(took time.Duration, files int) {
	m.rounds.Observe(took.Seconds())
	m.files.Observe(float64(files))
}

func (m *metrics) Committed(took time.Duration) { m.commits.Observe(took.Seconds()) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.desc {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	out := sample{m.desc, ch}
	out.gauge("logd_build_info", 1, m.node.o.Version)
	ready := int64(0)
	if m.node.Ready() == nil {
		ready = 1
	}
	out.gauge("logd_ready", ready)
	r := &m.node.reload
	out.counter("logd_reloads_total", r.succeeded.Load(), "ok")
	out.counter("logd_reloads_total", r.failed.Load(), "failed")
	out.time("logd_config_last_reload_success_timestamp_seconds", time.UnixMilli(r.last.Load()))
	if w := m.node.web; w != nil {
		for why, n := range w.Refused() {
			out.counter("logd_http_refused_total", n, why)
		}
	}
	for _, l := range m.node.secured.all(&m.node.o.Config) {
		ok, failed := l.Handshakes()
		out.counter("logd_tls_handshakes_total", ok, l.listener, "ok")
		out.counter("logd_tls_handshakes_total", failed, l.listener, "failed")
		out.time("logd_tls_certificate_expiry_timestamp_seconds", l.Ends(), l.listener)
	}
	if a := m.node.auth; a != nil {
		out.auth(a)
	}
	if s := m.node.server.Load(); s != nil {
		out.server(s)
	}
	for _, name := range codec.Names() {
		c := m.packed.of(name)
		out.counter("logd_compressed_batches_total", c.batches.Load(), name)
		out.counter("logd_compressed_bytes_total", c.bytes.Load(), name)
		out.counter("logd_uncompressed_bytes_total", c.unpacked.Load(), name)
	}
	store := m.node.store.Load()
	if store == nil {
		return
	}
	st := store.Stats()
	out.store(&st)
	if h := m.node.hooks; h != nil {
		ended := h.queue.Counts()
		out.gauge("logd_delete_hooks_pending", int64(len(h.queue.Entries())))
		out.counter("logd_delete_hooks_total", ended.Succeeded, "succeeded")
		out.counter("logd_delete_hooks_total", ended.Failed, "failed")
		out.counter("logd_delete_hooks_total", ended.Skipped, "skipped")
	}
	if c := m.node.member.Load(); c != nil && c.node != nil {
		out.member(c)
	}
	if k := m.node.keeper.Load(); k != nil {
		out.positions(k)
	}
	known := m.topics.look(store, m.node.fs, st.Topics)
	if known.free >= 0 && known.topics != nil {
		out.gauge("logd_disk_free_bytes", known.free)
	}
	if known.size >= 0 && known.topics != nil {
		out.gauge("logd_disk_size_bytes", known.size)
	}
	for i := range st.Topics {
		t := &st.Topics[i]
		if in, ok := known.topics[t.Topic]; ok {
			out.gauge("logd_topic_messages", in.Messages, t.Topic)
			out.time("logd_topic_oldest_timestamp_seconds", in.OldestTime, t.Topic)
			out.time("logd_topic_newest_timestamp_seconds", in.NewestTime, t.Topic)
		}
		out.topic(t)
	}
}

// sample is one collection of the values.
type sample struct {
	desc map[string]*prometheus.Desc
	ch   chan<- prometheus.Metric
}

func (out sample) value(name string, kind prometheus.ValueType, v float64, labels []string) {
	out.ch <- prometheus.MustNewConstMetric(out.desc[name], kind, v, labels...)
}

func (out sample) counter(name string, v int64, labels ...string) {
	out.value(name, prometheus.CounterValue, float64(v), labels)
}

func (out sample) gauge(name string, v int64, labels ...string) {
	out.value(name, prometheus.GaugeValue, float64(v), labels)
}

// time is a gauge of a time, to the millisecond. For none there is no value.
func (out sample) time(name string, at time.Time, labels ...string) {
	if !at.IsZero() {
		out.value(name, prometheus.GaugeValue, float64(at.UnixMilli())/1000, labels)
	}
}

func (out sample) auth(a *server.Auth) {
	st := a.Stats()
	for by, n := range st.Shown {
		out.counter("logd_auth_total", n, by[0], by[1])
	}
	for verb, n := range st.Denied {
		out.counter("logd_denied_total", n, verb)
	}
}

func (out sample) server(s *server.Server) {
	st := s.Stats()
	for i := range st.Requests {
		command := protocol.Command(i).String()
		out.counter("logd_requests_total", st.Requests[i], command)
		out.counter("logd_errors_total", st.Errors[i], command)
	}
	for _, e := range s.ErrorCounts() {
		out.counter("logd_error_answers_total", e.Count, e.Command.String(), e.Reason)
	}
	out.counter("logd_received_bytes_total", st.BytesIn)
	out.counter("logd_sent_bytes_total", st.BytesOut)
	out.counter("logd_sendfile_calls_total", st.Sendfiles)
	out.counter("logd_batches_total", st.Batches)
	out.counter("logd_messages_total", st.Messages)
	out.gauge("logd_connections", st.Connections)
	out.counter("logd_connections_total", st.ConnectionsTotal)
	out.counter("logd_connections_refused_total", st.ConnectionsRefused)
	out.gauge("logd_unauthenticated_connections", st.Unauthenticated)
	for kind, n := range st.Throttled {
		out.counter("logd_throttled_total", n, kind)
	}
	out.counter("logd_panics_total", st.Panics)
	out.gauge("logd_waiting_reads", st.WaitingReads)
}

func (out sample) store(st *storage.Stats) {
	out.counter("logd_read_misses_total", st.Misses)
	out.counter("logd_duplicates_total", st.Duplicates)
	out.counter("logd_topics_disallowed_total", st.Disallowed)
	out.gauge("logd_topics", int64(st.Counts.Topics))
	out.gauge("logd_open_files", int64(st.OpenFiles))
	out.counter("logd_partitions_forced_total", st.Forced)
	out.counter("logd_scrub_bytes_total", st.Scrubbed)
	out.counter("logd_scrub_damage_total", st.ScrubDamaged)
	passed := int64(0)
	if !st.ScrubPassed.IsZero() {
		passed = st.ScrubPassed.Unix()
	}
	out.gauge("logd_scrub_passed_timestamp_seconds", passed)
}

func (out sample) member(m *member) {
	st := m.node.Stats()
	flag := func(is bool) int64 {
		if is {
			return 1
		}
		return 0
	}
	for i, g := range st.Groups {
		name := strconv.Itoa(i)
		out.gauge("logd_group_leader", flag(g.Leads), name)
		out.gauge("logd_group_term", int64(g.Term), name)
		out.gauge("logd_group_commit_index", int64(g.Commit), name)
		out.gauge("logd_group_applied_index", int64(g.Applied), name)
		out.gauge("logd_group_log_bytes", g.LogBytes, name)
	}
	names := make(map[string]bool)
	for _, p := range st.Peers {
		name := p.Name
		if names[name] { // another one has taken its place
			name += "-" + strconv.FormatUint(p.ID, 10)
		}
		names[name] = true
		out.gauge("logd_peer_up", flag(p.Up), name)
		out.gauge("logd_peer_lag_bytes", p.LagBytes, name)
		out.value("logd_peer_lag_seconds", prometheus.GaugeValue, p.Lag.Seconds(), []string{name})
		out.counter("logd_peer_sent_bytes_total", m.transport.Sent(p.ID), name)
	}
	out.counter("logd_elections_total", st.Elections)
	out.counter("logd_leader_changes_total", st.LeaderChanges)
	out.gauge("logd_uncommitted_bytes", st.Uncommitted)
	out.counter("logd_refilled_bytes_total", st.Refilled)
	out.counter("logd_catch_up_bytes_total", st.Fetched)
	out.counter("logd_in_doubt_total", st.InDoubt)
	out.counter("logd_proposals_dropped_total", st.Dropped)
}

func (out sample) topic(t *storage.TopicStats) {
	out.gauge("logd_topic_bytes", t.Bytes, t.Topic)
	out.gauge("logd_topic_partitions", int64(t.Partitions), t.Topic)
	out.gauge("logd_topic_oldest_offset", t.Oldest, t.Topic)
	out.gauge("logd_topic_next_offset", t.Next, t.Topic)
	out.gauge("logd_topic_unsynced_bytes", t.Unsynced, t.Topic)
	out.gauge("logd_topic_damaged_bytes", t.Damaged, t.Topic)
	readOnly := int64(0)
	if t.Err != nil {
		readOnly = 1
	}
	out.gauge("logd_topic_read_only", readOnly, t.Topic)
}

// withoutNetwork is a collector for a process without what it says of the
// network: that is of the whole machine, whatever its name says.
type withoutNetwork struct{ prometheus.Collector }

func ofNetwork(d *prometheus.Desc) bool { return strings.Contains(d.String(), `"process_network_`) }

// Describe implements prometheus.Collector.
func (c withoutNetwork) Describe(ch chan<- *prometheus.Desc) {
	filter(ch, c.Collector.Describe, func(d *prometheus.Desc) bool { return !ofNetwork(d) })
}

// Collect implements prometheus.Collector.
func (c withoutNetwork) Collect(ch chan<- prometheus.Metric) {
	filter(ch, c.Collector.Collect, func(m prometheus.Metric) bool { return !ofNetwork(m.Desc()) })
}

// filter passes on what from sends if it is to be kept.
func filter[T any](ch chan<- T, from func(chan<- T), keep func(T) bool) {
	all := make(chan T)
	go func() {
		defer close(all)
		from(all)
	}()
	for v := range all {
		if keep(v) {
			ch <- v
		}
	}
}

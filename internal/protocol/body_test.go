package protocol_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// aBody is a body's Append and Parse with the types taken away.
type aBody struct {
	parse  func([]byte) (any, error)
	append func(any) []byte
}

var bodies = map[string]aBody{
	"topics": {
		func(b []byte) (any, error) { return protocol.ParseTopics(b) },
		func(v any) []byte { return protocol.AppendTopics(nil, v.([]string)) },
	},
	"stats": {
		func(b []byte) (any, error) { return protocol.ParseFields(b) },
		func(v any) []byte { return protocol.AppendFields(nil, v.([]protocol.Field)) },
	},
	"info": {
		func(b []byte) (any, error) { return protocol.ParseInfo(b) },
		func(v any) []byte { in := v.(protocol.TopicInfo); return protocol.AppendInfo(nil, &in) },
	},
	"config": {
		func(b []byte) (any, error) { return protocol.ParseSettings(b) },
		func(v any) []byte { s := v.(protocol.Settings); return protocol.AppendSettings(nil, &s) },
	},
	"help": {
		func(b []byte) (any, error) { return protocol.ParseHelp(b) },
		func(v any) (body []byte) {
			for _, u := range v.([]protocol.Usage) {
				body = protocol.AppendUsage(body, u)
			}
			return body
		},
	},
	"cluster": {
		func(b []byte) (any, error) { return protocol.ParseCluster(b) },
		func(v any) []byte { c := v.(protocol.ClusterInfo); return protocol.AppendCluster(nil, &c) },
	},
	"groups": {
		func(b []byte) (any, error) { return protocol.ParseGroups(b) },
		func(v any) (body []byte) {
			for _, g := range v.([]protocol.GroupInfo) {
				body = protocol.AppendGroup(body, &g)
			}
			return body
		},
	},
	"positions": {
		func(b []byte) (any, error) { return protocol.ParsePositions(b) },
		func(v any) (body []byte) {
			for _, p := range v.([]protocol.PositionInfo) {
				body = protocol.AppendPosition(body, &p)
			}
			return body
		},
	},
	"hooks": {
		func(b []byte) (any, error) { return protocol.ParseHooks(b) },
		func(v any) (body []byte) {
			for _, h := range v.([]protocol.PendingHook) {
				body = protocol.AppendHook(body, &h)
			}
			return body
		},
	},
	"retention": {
		func(b []byte) (any, error) { return protocol.ParsePlan(b) },
		func(v any) (body []byte) {
			for _, p := range v.([]protocol.PlannedPartition) {
				body = protocol.AppendPlanned(body, &p)
			}
			return body
		},
	},
}

var at = time.UnixMilli(1_700_000_000_123).UTC()

const anInfo = "Oldest: 5\r\nNext: 90\r\nPartitions: 2\r\nBytes: 80\r\nMessages: 7\r\nBatches: 3\r\n" +
	"OldestTime: 2023-11-14T22:13:20.123Z\r\nNewestTime: \r\nId: 0aF\r\nState: read only: no room\r\n" +
	"Synced: 80\r\nDamaged: 4\r\nDamagedAt: 10-12 20-22\r\nDamagedIn: t/0.log t/20.log\r\n"

const aConfig = "Host: 127.0.0.1:1774\r\nTimeout: 15s\r\nIdleTimeout: 30s\r\nMaxBatchSize: 65536\r\nMaxMessages: 50000\r\n" +
	"PartitionSize: 1024\r\nPartitions: 8\r\nFlushBatches: 1\r\nFlushInterval: 0s\r\nDeleteHook: true\r\nProducers: 262144\r\nCodecs: s2,zstd\r\nMaxUncompressedSize: 1048576\r\nPositions: 10000\r\nVersion: 1.2.3 (x)\r\n"

const aTopicInCluster = "Oldest: 0\r\nNext: 9\r\nPartitions: 1\r\nBytes: 9\r\nMessages: 1\r\nBatches: 1\r\n" +
	"OldestTime: \r\nNewestTime: \r\nSynced: 0\r\nDamaged: 0\r\nRole: follower\r\nGroup: 3\r\nLeader: b:1774\r\nTerm: 7\r\n"

const aCluster = "cluster=0f members=2 groups=8\r\n" +
	"member=1 name=a addr=a:1774 peer=a:1776 role=voter state=up leads=8 lag-bytes=0 lag-ms=0 free=1000 version=1.0 http=http://a:1775 auth=0123456789ab\r\n" +
	"member=3 name=b addr=b:1774 peer=b:1776 role=learner state=down leads=0 lag-bytes=7 lag-ms=80 free=0 version= http=- auth=-\r\n"

// TestBodies has each body as it stands on the wire and as it is in memory.
func TestBodies(t *testing.T) {
	tests := []struct {
		body, wire string
		value      any
	}{
		{"topics", "", []string(nil)},
		{"topics", "a\r\nb.c\r\n", []string{"a", "b.c"}},
		{"stats", "bytes.in: 5\r\nx: \r\n", []protocol.Field{{Name: "bytes.in", Value: "5"}, {Name: "x"}}},
		{"info", anInfo, protocol.TopicInfo{
			Oldest: 5, Next: 90, Partitions: 2, Bytes: 80, Messages: 7, Batches: 3, OldestTime: at, ID: "0aF",
			State: "read only: no room", Synced: 80, Damaged: 4,
			DamagedAt: [][2]int64{{10, 12}, {20, 22}}, DamagedIn: []string{"t/0.log", "t/20.log"},
		}},
		{"positions", "", []protocol.PositionInfo(nil)},
		{"positions", "topic=t consumer=c at=70.11 version=5 state=gone lag-bytes=1 lag-messages=- lag-ms=- lost-bytes=7 updated=2026-11-30T03:14:08.510Z by=- holder=- hold-ms=- ttl=- note=-\r\n" +
			"topic=t consumer=d at=0.0 version=6 state=ok lag-bytes=0 lag-messages=0 lag-ms=0 lost-bytes=0 updated=2026-11-30T03:14:08.510Z by=ops holder=w-1 hold-ms=30000 ttl=1000 note=n.1\r\n", []protocol.PositionInfo{
			{
				Topic: "t", Consumer: "c", At: batch.Place{Offset: 70, Delta: 11}, Version: 5, State: protocol.PositionGone, LagBytes: 1, LagMessages: -1, LagMS: -1,
				LostBytes: 7, Updated: time.Date(2026, 11, 30, 3, 14, 8, 510e6, time.UTC), HoldMS: -1, TTL: -1,
			},
			{
				Topic: "t", Consumer: "d", Version: 6, State: protocol.PositionOK, Updated: time.Date(2026, 11, 30, 3, 14, 8, 510e6, time.UTC),
				By: "ops", Holder: "w-1", HoldMS: 30000, TTL: 1000, Note: "n.1",
			},
		}},
		{"config", aConfig, protocol.Settings{
			Host: "127.0.0.1:1774", Timeout: 15 * time.Second, IdleTimeout: 30 * time.Second, MaxBatchSize: 65536, MaxMessages: 50000,
			PartitionSize: 1024, Partitions: 8, FlushBatches: 1, DeleteHook: true, Producers: 262144, Codecs: batch.KnownCodecs, MaxUncompressedSize: 1 << 20, Positions: 10000, Version: "1.2.3 (x)",
		}},
		{"help", "PING  OK, if the server answers\r\nINFO <topic>  state of  a topic\r\n", []protocol.Usage{
			{Words: "PING", Meaning: "OK, if the server answers"}, {Words: "INFO <topic>", Meaning: "state of  a topic"},
		}},
		{"hooks", "topic=a base=0 end=120 state=running attempts=0\r\n" +
			"topic=b base=7 end=9 state=failed attempts=3 next=2023-11-14T22:13:20.123Z error=no room at all\r\n",
			[]protocol.PendingHook{
				{Topic: "a", End: 120, State: "running"},
				{Topic: "b", Base: 7, End: 9, State: "failed", Attempts: 3, Next: at, Error: "no room at all"},
			}},
		{"info", aTopicInCluster, protocol.TopicInfo{Next: 9, Partitions: 1, Bytes: 9, Messages: 1, Batches: 1, Role: protocol.Follower, Group: 3, Leader: "b:1774", Term: 7}},
		{"config", aConfig + "Node: a\r\nCluster: 0f\r\nElectionTimeout: 1s\r\n" +
			"RetentionAge: 168h0m0s\r\nRetentionBytes: 9\r\nTopics: 1000\r\nTopicsWhitelist: a,b\r\nKeepFree: 7\r\n", protocol.Settings{
			Host: "127.0.0.1:1774", Timeout: 15 * time.Second, IdleTimeout: 30 * time.Second, MaxBatchSize: 65536, MaxMessages: 50000,
			PartitionSize: 1024, Partitions: 8, FlushBatches: 1, DeleteHook: true, Producers: 262144, Codecs: batch.KnownCodecs, MaxUncompressedSize: 1 << 20, Positions: 10000, Version: "1.2.3 (x)",
			Node: "a", Cluster: "0f", ElectionTimeout: time.Second,
			RetentionAge: 168 * time.Hour, RetentionBytes: 9, Topics: 1000, TopicsWhitelist: "a,b", KeepFree: 7,
		}},
		{"cluster", aCluster, protocol.ClusterInfo{Cluster: "0f", Groups: 8, Members: []protocol.MemberInfo{
			{ID: 1, Name: "a", Addr: "a:1774", Peer: "a:1776", Role: "voter", State: "up", Leads: 8, Free: 1000, Version: "1.0", Auth: "0123456789ab", HTTP: "http://a:1775"},
			{ID: 3, Name: "b", Addr: "b:1774", Peer: "b:1776", Role: "learner", State: "down", LagBytes: 7, LagMS: 80},
		}}},
		{"groups", "group=0 leader=a prefers=- term=2 index=9 commit=8 applied=7 topics=1 voters=a,b learners= damaged-bytes=0\r\n" +
			"group=1 leader=- prefers=b term=0 index=0 commit=0 applied=0 topics=0 voters=a learners=b,c damaged-bytes=5\r\n",
			[]protocol.GroupInfo{
				{Leader: "a", Term: 2, Index: 9, Commit: 8, Applied: 7, Topics: 1, Voters: []string{"a", "b"}, Learners: []string{}},
				{Group: 1, Prefers: "b", Voters: []string{"a"}, Learners: []string{"b", "c"}, DamagedBytes: 5},
			}},
		{"retention", "base=0 end=3 verdict=remove why=partitions messages=5 newest=2023-11-14T22:13:20.123Z\r\n" +
			"base=3 end=50 verdict=keep after-partitions=1 after-bytes=2 at=2023-11-14T22:13:20.123Z\r\n",
			[]protocol.PlannedPartition{
				{End: 3, Verdict: "remove", Why: "partitions", Messages: 5, Newest: at},
				{Base: 3, End: 50, Verdict: "keep", Messages: -1, AfterPartitions: 1, AfterBytes: 2, At: at},
			}},
	}
	for _, test := range tests {
		b := bodies[test.body]
		if got := string(b.append(test.value)); got != test.wire {
			t.Errorf("%s is written\n%q, want\n%q", test.body, got, test.wire)
		}
		got, err := b.parse([]byte(test.wire))
		if diff := cmp.Diff(test.value, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", test.wire, err, diff)
		}
	}
}

// TestBodiesOfOthers: what a newer or an older server sends is taken too.
func TestBodiesOfOthers(t *testing.T) {
	short := protocol.TopicInfo{Next: 9, Partitions: 1, Bytes: 9, Messages: 1, Batches: 1}
	tests := []struct {
		body, wire string
		want       any
	}{
		{"info", "Next:9\nNews: x y\nOldest: 0\nPartitions: 1\nBytes: 9\nMessages: 1\nBatches: 1\n", short},
		{"config", "Host: h:1\r\nTimeout: 1s\r\nIdleTimeout: 2s\r\nMaxBatchSize: 3\r\nNews: yes\r\n",
			protocol.Settings{Host: "h:1", Timeout: time.Second, IdleTimeout: 2 * time.Second, MaxBatchSize: 3}},
		{"hooks", "topic=a news=1 base=2\r\n", []protocol.PendingHook{{Topic: "a", Base: 2}}},
		{"retention", "base=2 news= end=3\r\n", []protocol.PlannedPartition{{Base: 2, End: 3, Messages: -1}}},
	}
	for _, test := range tests {
		got, err := bodies[test.body].parse([]byte(test.wire))
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", test.wire, err, diff)
		}
	}
}

// TestBadBodies: the error says which line or value is wrong.
func TestBadBodies(t *testing.T) {
	without := func(line string) string {
		i := strings.Index(anInfo, line)
		return anInfo[:i] + anInfo[i+strings.Index(anInfo[i:], "\n")+1:]
	}
	tests := []struct{ body, wire, says string }{
		{"topics", "a\r\n.b\r\n", `".b"`},
		{"stats", "a: 1\r\nb\r\n", `"b" is not a name and a value`},
		{"info", without("Bytes"), "no line Bytes"},
		{"info", strings.Replace(anInfo, "Oldest: 5", "Oldest: 91", 1), "Oldest is 91, behind Next, which is 90"},
		{"info", strings.Replace(anInfo, "Next: 90", "Next: -1", 1), `"Next: -1"`},
		{"info", strings.Replace(anInfo, "2023-", "2023", 1), "OldestTime"},
		{"info", strings.Replace(anInfo, "0aF", "0x", 1), `"Id: 0x"`},
		{"info", strings.Replace(anInfo, "10-12", "12-12", 1), "DamagedAt"},
		{"info", strings.Replace(anInfo, "10-12", "10", 1), "DamagedAt"},
		{"config", strings.Replace(aConfig, "15s", "15", 1), `"Timeout: 15"`},
		{"config", strings.Replace(aConfig, "true", "maybe", 1), `"DeleteHook: maybe"`},
		{"help", "PING  yes\r\nPING no\r\n", `"PING no"`},
		{"hooks", "topic=a base=-1\r\n", `"base=-1" makes no sense in "topic=a base=-1"`},
		{"hooks", "topic=a next=soon\r\n", `"next=soon"`},
		{"retention", "base=1 keep\r\n", `"keep"`},
		{"cluster", "", "not as many members"},
		{"cluster", strings.Replace(aCluster, "members=2", "members=3", 1), "not as many members"},
		{"cluster", strings.Replace(aCluster, "cluster=0f", "cluster=x", 1), "names no cluster"},
		{"cluster", strings.Replace(aCluster, "member=3", "member=x", 1), `"member=x"`},
		{"groups", "group=-1\r\n", `"group=-1"`},
	}
	for _, test := range tests {
		if v, err := bodies[test.body].parse([]byte(test.wire)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %+v, %v, want an error that says %q", test.wire, v, err, test.says)
		}
	}
}

// TestAppendInfoLimits: a reason fits in its line, and no more ranges are named than
// a line may have.
func TestAppendInfoLimits(t *testing.T) {
	in := protocol.TopicInfo{State: protocol.ReadOnly(errors.New("no\r\nroom"))}
	for i := range int64(protocol.MaxRanges + 1) {
		in.DamagedAt = append(in.DamagedAt, [2]int64{2 * i, 2*i + 1})
		in.DamagedIn = append(in.DamagedIn, fmt.Sprint(i))
	}
	got, err := protocol.ParseInfo(protocol.AppendInfo(nil, &in))
	if err != nil || got.State != "read only: no room" || len(got.DamagedAt) != protocol.MaxRanges || len(got.DamagedIn) != protocol.MaxRanges {
		t.Errorf("%v: state %q, %d ranges in %d files", err, got.State, len(got.DamagedAt), len(got.DamagedIn))
	}
}

// fuzzBody proves that what a body parses to is written so that it parses to
// the same again, and that what is written is written the same again.
func fuzzBody(f *testing.F, name string, seeds ...string) {
	b := bodies[name]
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		value, err := b.parse(wire)
		if err != nil {
			return
		}
		made := b.append(value)
		again, err := b.parse(made)
		if diff := cmp.Diff(value, again, cmpopts.EquateEmpty(), cmp.Comparer(sameMillisecond)); err != nil || diff != "" {
			t.Fatalf("%q is written %q, which is %v (-before +after)\n%s", wire, made, err, diff)
		}
		if twice := b.append(again); string(twice) != string(made) {
			t.Fatalf("%q is written anew as %q", made, twice)
		}
	})
}

func sameMillisecond(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() }

func FuzzTopics(f *testing.F) { fuzzBody(f, "topics", "", "a\r\n", "a\nb\r\n") }
func FuzzStats(f *testing.F)  { fuzzBody(f, "stats", "", "a: 1\r\n", "a:1\nb :  2 3\r\n", ":\r\n") }
func FuzzInfo(f *testing.F)   { fuzzBody(f, "info", anInfo, strings.ReplaceAll(anInfo, "\r", "")) }
func FuzzConfig(f *testing.F) {
	fuzzBody(f, "config", aConfig, "Host: h\r\nDeleteHook: T\r\nTimeout: 1h1ns\r\n")
}

func FuzzHelp(f *testing.F) {
	fuzzBody(f, "help", "PING  yes\r\n", "A b   c\nA  \n", string(protocol.AppendHelp(nil)))
}

func FuzzHooks(f *testing.F) {
	fuzzBody(f, "hooks", "topic=a base=0 end=1 state=failed attempts=1 next=2023-11-14T22:13:20+01:00 error=a=b  c\r\n", "error=\r\n")
}

func FuzzRetention(f *testing.F) {
	fuzzBody(f, "retention", "base=0 end=1 verdict=keep why=x messages=0 newest=2023-11-14T22:13:20Z after-bytes=1 at=0001-01-01T00:00:00Z\r\n")
}

func FuzzCluster(f *testing.F) { fuzzBody(f, "cluster", aCluster, "cluster=0 members=0 groups=1\n") }
func FuzzGroups(f *testing.F) {
	fuzzBody(f, "groups", "group=0 leader=a prefers=- term=2 index=9 commit=8 applied=7 topics=1 voters=a,b learners= damaged-bytes=0\r\n", "group=1 leader= voters=,,-\n")
}

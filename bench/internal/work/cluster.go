package work

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// Clusters are the sizes of C1.
type Clusters struct {
	Kills     int           // of a leader by kill -9
	Pauses    int           // of a leader by SIGSTOP, and as many moves and drains
	GapTopics []int         // numbers of topics with which leaders are killed
	Topics    int           // of the idle cluster
	Idle      time.Duration // for which each of its members is looked at
	Bytes     int64         // that a new member catches up
}

// Cluster is the name of the work whose servers are several.
const Cluster = "C1"

const (
	// large is a message that fills a batch of 64 KiB.
	large = 64<<10 - 200
	// small is a message of a small batch.
	small = 100
	// alone is the setup that others are told as a share of.
	alone = "single"
)

// clusterCase is a case of C1. It is done by each setup of a system in turn.
type clusterCase struct {
	name  string
	limit time.Duration
	bytes int64
	// heldBack is how many members are not started.
	heldBack int
	// fits says whether the case is for a setup; nil: for all.
	fits func(system.Setup) bool
	// skip says why a system can't do it.
	skip map[string]string
	// share is the metric that is told as a share of the first setup's.
	share report.Metric
	run   func(ctx context.Context, r *clusterRun) (report.Values, error)
}

// clusterRun is one setup at one case.
type clusterRun struct {
	system.Cluster
	trial *Trial
	setup system.Setup
	name  string // of the case
	dir   string
	// leading is the member that leads the topic, following one that does not.
	topic              string
	leading, following system.Server
}

// severalMembers is for setups with followers.
func severalMembers(s system.Setup) bool { return s.Members > 1 }

// clusters is C1.
func (s *Sizes) clusters() Work {
	c := &s.Clusters
	w := Work{Work: report.Work{
		Name: Cluster, Title: "clusters", Chart: report.Ratio,
		What: fmt.Sprintf("Each case is done by one server that syncs before it replies, by a cluster of one member and by one of three, and by three JetStream "+
			"servers with streams of three replicas, all on this machine and its one disk. Phases that are measured for a time take %v. \"%s\" is the share of what "+
			"the single server did in the same turn. A gap is the longest time without any acknowledgement around the event, seen by probes of one message "+
			"at a time at every member.", s.Duration, report.Ratio),
	}}
	add := func(cc clusterCase) { w.Cases = append(w.Cases, cc.build()) }
	fromReads := map[string]string{"nats": "its readers do not choose a server"}
	onlyHere := map[string]string{"nats": "it has nothing of the kind"}
	add(clusterCase{name: "64 KiB batches, 1 connection, 8 in flight", share: report.Bytes, bytes: 16 << 30, run: s.runLarge})
	add(clusterCase{name: "100 B batches, 64 connections, 1 outstanding", share: report.Messages, run: s.callers(small, 64)})
	add(clusterCase{name: "16 KiB batches, 1 connection, 1 outstanding", share: report.P50, run: s.callers(16<<10, 1)})
	add(clusterCase{name: "cold read, from a follower", share: report.Bytes, bytes: 8 * s.ReadBytes, skip: fromReads, run: s.runFollowerRead})
	add(clusterCase{name: "delivery", fits: severalMembers, skip: fromReads, run: s.runDelivery})
	add(clusterCase{name: fmt.Sprintf("%d topics", c.Topics), share: report.Memory, limit: 5 * time.Minute, skip: onlyHere, run: s.runIdle})
	few := 1
	if len(c.GapTopics) > 0 {
		few = c.GapTopics[0]
	}
	for _, n := range c.GapTopics {
		skip := map[string]string{}
		if n > few {
			skip["nats"] = "a topic is a subject there, which costs nothing"
		}
		add(clusterCase{name: fmt.Sprintf("kill -9 of the leader, %d topics", n), limit: 10 * time.Minute, fits: severalMembers, skip: skip, run: s.gaps(n, c.Kills, kill)})
	}
	add(clusterCase{name: "SIGSTOP of the leader", fits: severalMembers, run: s.gaps(few, c.Pauses, pause)})
	add(clusterCase{name: "TRANSFER of the topic", fits: severalMembers, run: s.gaps(few, c.Kills, move)})
	add(clusterCase{name: "DRAIN of the leader", fits: severalMembers, skip: onlyHere, run: s.gaps(few, c.Kills, drainLeader)})
	add(clusterCase{name: "catch-up of an empty third member", heldBack: 1, fits: severalMembers, bytes: 5 * c.Bytes, limit: 10 * time.Minute, skip: onlyHere, run: s.runJoin})
	add(clusterCase{name: "start after kill -9", bytes: 4 * c.Bytes, share: report.Start, skip: onlyHere, run: s.runRestart})
	return w
}

// build makes a case of it that every system can be asked to do.
func (cc *clusterCase) build() Case {
	return Case{
		Name: cc.name, Sync: true, Limit: max(cc.limit, 4*time.Minute), Bytes: max(cc.bytes, 2<<30),
		Skip: func(s system.System) string {
			if _, ok := s.(system.Clustered); !ok {
				return "no cluster of it is measured"
			}
			return cc.skip[s.Name()]
		},
		Run: cc.all,
	}
}

// all does the case with one setup after the other, and not with the same one first
// in each round.
func (cc *clusterCase) all(ctx context.Context, t *Trial) error {
	var setups []system.Setup
	for _, s := range t.System.(system.Clustered).Setups() {
		if cc.fits == nil || cc.fits(s) {
			setups = append(setups, s)
		}
	}
	got := make(map[string]report.Values)
	var failed error
	for i := range setups {
		setup := setups[(i+t.Round)%len(setups)]
		v, err := cc.one(ctx, t, setup, filepath.Join(t.Options.Dir, strconv.Itoa(i)))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", setup.Name, err))
			continue
		}
		got[setup.Name] = v
	}
	for _, setup := range setups {
		v := got[setup.Name]
		if v == nil {
			continue
		}
		if base := got[alone]; base[cc.share] > 0 {
			v[report.Ratio] = v[cc.share] / base[cc.share]
		}
		t.Durability = setup.Durability
		t.Record(cc.name+": "+setup.Name, v)
	}
	return failed
}

// one does the case with one setup, in a folder of its own.
func (cc *clusterCase) one(ctx context.Context, t *Trial, setup system.Setup, dir string) (report.Values, error) {
	ctx, cancel := context.WithTimeout(ctx, max(cc.limit, 4*time.Minute)/2)
	defer cancel()
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	cluster, err := setup.Start(ctx, dir, cc.heldBack)
	if err != nil {
		return nil, err
	}
	t.clusters = append(t.clusters, cluster) // which kills what it has started
	r := &clusterRun{Cluster: cluster, trial: t, setup: setup, name: cc.name, dir: dir}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	v, err := cc.run(ctx, r)
	cluster.Close()
	return v, errors.Join(err, removeFolder(dir), t.settle())
}

// begin makes a topic with one message in it, and finds out who leads it. Where a disk
// hangs the lead may just be moving: what is refused is written again.
func (r *clusterRun) begin(ctx context.Context) error {
	server := r.Members()[0]
	name, err := topic(ctx, server)
	if err != nil {
		return err
	}
	r.topic = name
	caller, err := server.Caller(ctx)
	if err != nil {
		return err
	}
	defer caller.Close()
	if err := callAgain(ctx, caller, name, newBodies(small, 0).next()); err != nil {
		return err
	}
	return r.roles(ctx)
}

// callAgain writes a message, and again if it is refused, for a while.
func callAgain(ctx context.Context, c system.Caller, topic string, body []byte) error {
	for began := time.Now(); ; {
		err := c.Call(ctx, topic, body)
		if err == nil || time.Since(began) > 10*time.Second {
			return err
		}
		pauseFor(ctx, 100*time.Millisecond)
	}
}

// roles finds out who leads the topic.
func (r *clusterRun) roles(ctx context.Context) error {
	leader, err := r.Leader(ctx, r.topic)
	if err != nil {
		return err
	}
	members := r.Members()
	r.leading, r.following = members[leader], members[(leader+1)%len(members)]
	return nil
}

func (s *Sizes) runLarge(ctx context.Context, r *clusterRun) (report.Values, error) {
	w, err := r.leading.Writer(ctx, r.topic)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return measureAll(r.Members(), func() (done, error) {
		n, err := writeUntil(ctx, w, newBodies(large, 0), time.Now().Add(s.Duration), s.WriteBytes/large)
		return done{messages: n, bytes: n * large}, err
	})
}

// callers returns a run of callers with one message outstanding each.
func (s *Sizes) callers(size, n int) func(ctx context.Context, r *clusterRun) (report.Values, error) {
	return func(ctx context.Context, r *clusterRun) (report.Values, error) {
		callers, err := dial(ctx, r.leading, n)
		if err != nil {
			return nil, err
		}
		defer closeAll(callers)
		for _, c := range callers {
			if err := c.Call(ctx, r.topic, newBodies(size, 0).next()); err != nil {
				return nil, err
			}
		}
		before, noEntries := r.Entries(ctx)
		latency := newLatencies(n)
		var total atomic.Int64
		v, err := measureAll(r.Members(), func() (done, error) {
			end := time.Now().Add(s.Duration)
			err := parallel(ctx, n, func(ctx context.Context, i int) error {
				n, err := callUntil(ctx, callers[i], newBodies(size, i), end, latency[i], func(int64) string { return r.topic })
				total.Add(n)
				return err
			})
			return done{messages: total.Load(), bytes: total.Load() * int64(size)}, err
		})
		if err != nil {
			return nil, err
		}
		latency.addTo(v)
		if noEntries == nil {
			after, err := r.Entries(ctx)
			if err != nil {
				return nil, err
			}
			v[report.Entries] = float64(after-before) / float64(total.Load())
		}
		return v, nil
	}
}

// runFollowerRead reads what is in no page cache: from a follower, where there is one.
func (s *Sizes) runFollowerRead(ctx context.Context, r *clusterRun) (report.Values, error) {
	n := s.ReadBytes / readSize
	if err := fill(ctx, r.leading, r.topic, n, readSize); err != nil {
		return nil, err
	}
	if err := errors.Join(r.Whole(ctx), Settle(r.dir), dropCache(r.dir)); err != nil {
		return nil, err
	}
	return measure(r.following, func() (done, error) {
		var messages, bytes int64
		err := r.following.CatchUp(ctx, r.topic, n, func(body []byte) {
			messages++
			bytes += int64(len(body))
		})
		return done{messages: messages, bytes: bytes}, err
	})
}

// runDelivery measures, at once, how late messages come from the leader and from a
// follower.
func (s *Sizes) runDelivery(ctx context.Context, r *clusterRun) (report.Values, error) {
	const perSecond = 50 // which a disk with others on it keeps up with
	caller, err := r.leading.Caller(ctx)
	if err != nil {
		return nil, err
	}
	defer caller.Close()
	if err := r.Whole(ctx); err != nil {
		return nil, err
	}
	near, err := follow(ctx, r.leading, r.topic, 1)
	if err != nil {
		return nil, err
	}
	far, err := follow(ctx, r.following, r.topic, 1)
	if err != nil {
		return nil, near.end(err)
	}
	b := newBodies(small, 0)
	v, err := measureAll(r.Members(), func() (done, error) {
		n, elapsed, err := pace(ctx, perSecond, s.Duration, func(at time.Time) error {
			return caller.Call(ctx, r.topic, b.stamped(at))
		})
		if err == nil {
			err = errors.Join(near.await(ctx, n), far.await(ctx, n))
		}
		return done{messages: n, elapsed: elapsed}, err
	})
	err = near.end(err)
	if err = far.end(err); err != nil {
		return nil, err
	}
	leader := report.Values{}
	near.latency.addTo(leader)
	far.latency.addTo(v)
	r.trial.Durability = r.setup.Durability
	r.trial.Record(r.name+" from the leader: "+r.setup.Name, leader)
	v[report.Ratio] = v[report.P50] / leader[report.P50]
	return v, nil
}

// manyTopics makes n topics with a message in each.
func manyTopics(ctx context.Context, server system.Server, n int) ([]string, error) {
	const writers = 64
	topics, err := server.Topics(ctx, "many", n)
	if err != nil {
		return nil, err
	}
	callers, err := dial(ctx, server, min(writers, n))
	if err != nil {
		return nil, err
	}
	defer closeAll(callers)
	return topics, parallel(ctx, len(callers), func(ctx context.Context, i int) error {
		b := newBodies(small, i)
		for k := i; k < n; k += len(callers) {
			if err := callAgain(ctx, callers[i], topics[k], b.next()); err != nil {
				return err
			}
		}
		return nil
	})
}

// runIdle makes many topics, writes to a thousand of them at once, and then looks
// at what it costs to do nothing.
func (s *Sizes) runIdle(ctx context.Context, r *clusterRun) (report.Values, error) {
	const atOnce = 1000
	began := time.Now()
	topics, err := manyTopics(ctx, r.leading, s.Clusters.Topics)
	if err != nil {
		return nil, err
	}
	v := report.Values{report.Topics: float64(len(topics)) / time.Since(began).Seconds()}
	latency := newLatencies(1)
	body := newBodies(small, 0)
	for end := time.Now().Add(s.Duration); time.Now().Before(end); {
		began := time.Now()
		if err := r.Burst(ctx, topics[:min(atOnce, len(topics))], body.next()); err != nil {
			return nil, err
		}
		record(latency[0], time.Since(began))
	}
	latency.add(v, map[report.Metric]float64{report.P50: 50})
	if err := errors.Join(r.Whole(ctx), r.trial.settle()); err != nil {
		return nil, err
	}
	pauseFor(ctx, s.Clusters.Idle) // what is synced and written in the background
	members := r.Members()
	var idle float64
	for _, m := range members { // at different times: looking costs, too
		before, err := m.Process().Usage()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		pauseFor(ctx, s.Clusters.Idle)
		after, err := m.Process().Usage()
		if err != nil {
			return nil, err
		}
		idle = max(idle, 100*(after.CPUSeconds-before.CPUSeconds)/time.Since(began).Seconds())
		v[report.Memory] = max(v[report.Memory], float64(after.Bytes)/(1<<20))
		v[report.Peak] = max(v[report.Peak], float64(after.PeakBytes)/(1<<20))
		v[report.Files] = max(v[report.Files], float64(after.Files))
	}
	v[report.Idle] = idle
	return v, context.Cause(ctx)
}

// pauseFor waits.
func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// runRestart kills the leader while it is written to, and starts it again.
func (s *Sizes) runRestart(ctx context.Context, r *clusterRun) (report.Values, error) {
	if err := fill(ctx, r.leading, r.topic, s.Clusters.Bytes/large, large); err != nil {
		return nil, err
	}
	i := slices.Index(r.Members(), r.leading)
	r.leading.Process().Kill()
	began := time.Now()
	if err := r.Restart(ctx, i); err != nil {
		return nil, err
	}
	took := time.Since(began)
	u, err := r.Members()[i].Process().Usage()
	if err != nil {
		return nil, err
	}
	return report.Values{
		report.Start: took.Seconds(), report.CPU: u.CPUSeconds,
		report.Peak: float64(u.PeakBytes) / (1 << 20), report.Files: float64(u.Files),
	}, nil
}

// runJoin starts the member that was held back, beside a copy of the data by cp.
func (s *Sizes) runJoin(ctx context.Context, r *clusterRun) (report.Values, error) {
	if err := fill(ctx, r.leading, r.topic, s.Clusters.Bytes/large, large); err != nil {
		return nil, err
	}
	if err := Settle(r.dir); err != nil {
		return nil, err
	}
	const perSecond = 50
	before, err := s.pacedWriter(ctx, r, perSecond, func(ctx context.Context) error {
		pauseFor(ctx, s.Duration)
		return nil
	})
	if err != nil {
		return nil, err
	}
	copied, err := copyTime(ctx, r.dir)
	if err != nil {
		return nil, err
	}
	var took time.Duration
	v, err := s.pacedWriter(ctx, r, perSecond, func(ctx context.Context) error {
		began := time.Now()
		if err := errors.Join(r.Join(ctx), r.Whole(ctx)); err != nil {
			return err
		}
		took = time.Since(began)
		return nil
	})
	if err != nil {
		return nil, err
	}
	rate := float64(s.Clusters.Bytes) / 1e6 / took.Seconds()
	cp := report.Values{report.CatchUp: float64(s.Clusters.Bytes) / 1e6 / copied.Seconds()}
	r.trial.Record(r.name+": cp", cp)
	r.trial.Record(r.name+", before", report.Values{report.WriteP99: before[report.P99]})
	v[report.CatchUp], v[report.WriteP99], v[report.Ratio] = rate, v[report.P99], rate/cp[report.CatchUp]
	return v, nil
}

// pacedWriter writes at a steady pace while f runs, and returns how long the replies
// took.
func (s *Sizes) pacedWriter(ctx context.Context, r *clusterRun, perSecond int, f func(ctx context.Context) error) (report.Values, error) {
	caller, err := r.leading.Caller(ctx)
	if err != nil {
		return nil, err
	}
	defer caller.Close()
	latency := newLatencies(1)
	b := newBodies(small, 0)
	over := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { over <- f(ctx) }()
	for due := time.Now(); ; due = due.Add(time.Second / time.Duration(perSecond)) {
		select {
		case err := <-over:
			v := report.Values{}
			latency.addTo(v)
			return v, err
		case <-time.After(time.Until(due)):
		}
		if err := caller.Call(ctx, r.topic, b.next()); err != nil {
			cancel()
			return nil, errors.Join(err, <-over)
		}
		record(latency[0], time.Since(due))
	}
}

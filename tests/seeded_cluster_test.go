package tests

const (
	byGroup      = "^TestRandom$"
	bySimulation = "^TestSimulation$"
)

// clusterPlaces hold what clusters have lost data by, or could never agree again.
var clusterPlaces = []seededPlace{
	{"internal/group/store.go",
		`	s.Sync = len(s.Entries) > 0 || s.Hard || s.Table != nil
`, `	s.Sync = len(s.Entries) > 0 || s.Hard || s.Table != nil
	if bug("what relies on a store is said before that is durable") || s.Hard && len(s.Entries) == 0 && bug("a vote is given before it is durable") {
		defer g.respond(p.responses)
		p.responses = nil
	}
`, byGroup},
	{"internal/group/apply.go",
		`	if g.role == raft.StateLeader && e.Term == g.term && !g.lead.ready {
`, `	if bug("a lost lead is answered as an error") && g.role != raft.StateLeader {
		g.giveVerdict(func(*proposal) (Fate, bool) { return Not, true })
	}
	if g.role == raft.StateLeader && e.Term == g.term && !g.lead.ready {
`, byGroup},
	{"internal/group/group.go",
		`	if was == raft.StateLeader && (g.role != raft.StateLeader || g.term != wasTerm) {
`, `	if g.role == raft.StateLeader && was != raft.StateLeader && bug("a leader takes requests before an entry of its term is applied") {
		g.becomeReady()
	}
	if was == raft.StateLeader && (g.role != raft.StateLeader || g.term != wasTerm) {
`, byGroup},
	{"internal/group/apply.go",
		`	for len(g.todo) > 0 && g.todo[0].seq != 0 && g.todo[0].seq <= g.durable {
`, `	for len(g.todo) > 0 && (g.todo[0].seq != 0 && g.todo[0].seq <= g.durable || bug("a TRIM is carried out before a start would know of it")) {
`, byGroup},
	{"internal/group/apply.go",
		`		return Not, q.index == e.Index
	})
`, `		return Not, q.index == e.Index
	})
	if bug("what has no verdict yet counts as stored when the lead is lost") && g.role != raft.StateLeader {
		g.giveVerdict(func(*proposal) (Fate, bool) { return Stored, true })
	}
`, byGroup},
	{"internal/group/apply.go",
		`	for len(g.waiting) > 0 && !g.stopped() && !g.takeover.holds() {
`, `	for len(g.waiting) > 0 && !g.stopped() && (!g.takeover.holds() || bug("entries are applied whose bytes a takeover has cut off")) {
`, byGroup},
	{"internal/group/lead.go",
		`		if g.writes(d.Topic) {
`, `		if g.writes(d.Topic) && !bug("a topic is deleted while it is written to") {
`, byGroup},
	{"internal/group/members.go",
		`	return left > 0 && last > left && (last > g.log.last() || g.entrySeq(last) > g.durable)
`, `	return left > 0 && last > left && (last > g.log.last() || g.entrySeq(last) > g.durable) && !bug("others get what is behind the leaving of a joint configuration")
`, byGroup},
	{"internal/group/members.go",
		`	if e.Index > g.noted {
		g.noted = e.Index
`, `	if e.Index > g.noted && !bug("a change of members is in force before it is written that it is committed") {
		g.noted = e.Index
`, byGroup},
	{"internal/group/takeover.go",
		`	if in.phase == waits && g.durable >= g.entries {
`, `	if in.phase == waits && bug("bytes are cut off before it is known that they were synced") {
		in.phase = begun
		g.begin()
	}
	if in.phase == waits && g.durable >= g.entries {
`, byGroup},
	{"internal/group/takeover.go",
		`	if t.Index <= st.GetCommit() && !g.blank || has || !isMember(&t.Conf, g.cfg.ID) {
		return true
	}
`, `	if t.Index <= st.GetCommit() && !g.blank || has || !isMember(&t.Conf, g.cfg.ID) {
		return true
	}
	if bug("raft has a table before its bytes are here") {
		g.takeover = &takeover{m: m, table: t, phase: there}
		g.stepTable()
		return false
	}
`, byGroup},
	{"internal/cluster/disk.go",
		`		if err := d.log.File().Sync(); err != nil {
`, `		if bug("what is void is cut off before that is durable") {
		} else if err := d.log.File().Sync(); err != nil {
`, "^TestVoidIsDurableFirst$"},
	{"internal/cluster/disk.go",
		`	if !slices.Contains(d.dirty, l) {
`, `	if !slices.Contains(d.dirty, l) && !(bug("a topic is left out of the round") && l.ID()[7]%2 == 0) {
`, bySimulation},
	{"internal/cluster/disk.go",
		`		led := &storage.LedRun{Offset: run.Offset, Millis: d.n.now()}
`, `		led := &storage.LedRun{Offset: run.Offset, Millis: d.n.now()}
		if bug("a tail that nobody names stays before what comes then") {
			led.Offset = l.Next()
		}
`, bySimulation},
	{"internal/cluster/round.go",
		`			logErr = file.Sync()
`, `			if !bug("the member log is left out of the round") {
				logErr = file.Sync()
			}
`, bySimulation},
	{"internal/cluster/round.go",
		`		if err != nil {
			whole = false
`, `		if err != nil && !bug("a round whose sync has failed counts as done") {
			whole = false
`, bySimulation},
	{"internal/cluster/core.go",
		`			l.SetReadable(e.Offset)
`, `			if bug("what is written can be read before it is committed") {
				e.Offset = l.Next()
			}
			l.SetReadable(e.Offset)
`, bySimulation},
	{"internal/cluster/start.go",
		`			case !killed && e.Index > g.Commit && e.At >= rec.Synced:
`, `			case bug("the log goes on behind a run that is not there"):
			case !killed && e.Index > g.Commit && e.At >= rec.Synced:
`, bySimulation},
	{"internal/cluster/start.go",
		`			case !killed && e.Index > g.Commit && e.At >= rec.Synced:
				rec.End(`, `			case !killed && e.Index > g.Commit && (e.At >= rec.Synced || bug("damage of what was synced is taken for a torn end")):
				rec.End(`, bySimulation},
	{"internal/cluster/fetch.go",
		`	if oldest := n.topics.oldest(id); oldest > from {
`, `	if oldest := n.topics.oldest(id); oldest > from || bug("what is missing here is said to be trimmed") && l.Begin() > from {
		oldest = max(oldest, l.Begin())
`, "^TestServe$"},
	{"internal/cluster/body.go",
		`			if crc32.Checksum(data, castagnoli) != run.CRC {
`, `			if crc32.Checksum(data, castagnoli) != run.CRC && !bug("bytes of a run are taken as they come") {
`, "^TestBodies$"},
}

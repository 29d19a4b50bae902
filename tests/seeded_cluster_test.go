package tests

const (
	byGroup      = "^TestRandom$"
	bySimulation = "^TestSimulation$"
	byOrder      = "^TestOutOfOrderWaits$"
)

// forgetNumbers is what the bug "who is elected knows no numbers" calls.
var forgetNumbers = seededPlace{"internal/storage/numbers/book.go",
	`// drop lets go`, `// Forget makes the table an empty one.
func (b *Book) Forget() {
	b.Writer.Lock()
	defer b.Writer.Unlock()
	if b.table != nil {
		b.table = producers.New(b.table.Window())
	}
}

// drop lets go`, ""}

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
		`			d.lacksRoom(t.group, err)
`, `			d.lacksRoom(t.group, err)
			if s, ok := t.task.(*group.Store); ok && s.Hard && bug("a vote is given for which there is no room") {
				number := t.group
				d.n.core.post(func() { d.n.core.groups[number].g.Durable(s.Seq); d.n.core.take(number) })
			}
`, "^TestVoteWithoutRoom$"},
	{"internal/cluster/disk.go",
		`		d.tasks = append(d.tasks, diskTask{group: number, task: t})
`, `		d.tasks = append(d.tasks, diskTask{group: number, task: t})
		if s, ok := t.(*group.Store); ok && s.Hard && d.noRoom.Load() && bug("a vote is given for which there is no room") {
			d.n.core.post(func() { d.n.core.groups[number].g.Durable(s.Seq); d.n.core.take(number) })
		}
`, "^TestVoteWithoutRoom$"},
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
	{"internal/cluster/copies/give.go",
		`	if oldest := s.Oldest(id); oldest > from {
`, `	if oldest := s.Oldest(id); oldest > from || bug("what is missing here is said to be trimmed") && l.Begin() > from {
		oldest = max(oldest, l.Begin())
`, "^TestServe$"},
	{"internal/cluster/body.go",
		`			if copies.Checksum(data) != run.CRC {
`, `			if copies.Checksum(data) != run.CRC && !bug("bytes of a run are taken as they come") {
`, "^TestBodies$"},
	{"internal/group/store.go",
		`	p := promise{seq: s.Seq, responses: m.GetResponses()}
`, `	p := promise{seq: s.Seq, responses: m.GetResponses()}
	if c := m.GetCommit(); c > g.noted && bug("COMMIT is written ahead of what it speaks of") {
		g.noted, s.Commit = c, c
	}
`, bySimulation},
	{"internal/group/store.go",
		`	at := make(map[uint32]int)
	for _, e := range entries {
		for _, r`, `	if bug("what is void has its verdict") {
		g.giveVerdict(func(q *proposal) (Fate, bool) { return Not, q.index >= s.Void })
	}
	at := make(map[uint32]int)
	for _, e := range entries {
		for _, r`, "^TestVerdictComesFromApply$"},
	{"internal/group/group.go",
		`	switch m.GetType() {
	case pb.MsgTimeoutNow:
`, `	if t := m.GetType(); g.takeover.holds() && (t == pb.MsgVote || t == pb.MsgPreVote) && bug("votes wait behind the bytes of a table") {
		return
	}
	switch m.GetType() {
	case pb.MsgTimeoutNow:
`, "^TestVotesDuringATakeover$"},
	{"internal/group/fresh.go",
		`	g.fresh = append(g.fresh, fresh{id: id, since: g.ticks})
`, `	if bug("a leader believes that it leads when it is asked for what is fresh") && g.role == raft.StateLeader {
		g.out.Fresh = append(g.out.Fresh, Fresh{ID: id})
		return
	}
	g.fresh = append(g.fresh, fresh{id: id, since: g.ticks})
`, "^TestFreshContexts$"},
	{"internal/group/members.go",
		`	g.log.conf = g.rn.ApplyConfChange(cc)
`, `	if all := cc; bug("a member that was removed is counted") {
		cc = proto.Clone(cc).(*pb.ConfChangeV2)
		cc.Changes = slices.DeleteFunc(cc.Changes, func(c *pb.ConfChangeSingle) bool { return c.GetType() == pb.ConfChangeRemoveNode })
		if len(cc.Changes) == 0 && len(all.Changes) > 0 {
			cc = all
		}
	}
	g.log.conf = g.rn.ApplyConfChange(cc)
`, bySimulation},
	{"internal/group/members.go",
		`		if slices.Contains(conf.Voters, g.cfg.ID) {
			_ = g.rn`, `		if slices.Contains(conf.Voters, g.cfg.ID) || bug("a joint configuration is left by a leader that is out of it") {
			_ = g.rn`, "^TestJointIsLeftByWhoStays$"},
	{"internal/group/takeover.go",
		`		s := &Store{Seq: g.seq + 1, Synced: true, Sync: true}
`, `		s := &Store{Seq: g.seq + 1, Synced: true, Sync: true}
		if first := max(g.applied, g.known) + 1; first <= g.log.last() && bug("the log is void when a table is taken over") {
			s.Void = first
		}
`, byGroup},
	{"internal/cluster/disk.go",
		`			if l == nil || c.Offset >= l.Next() || c.Offset < l.Oldest() {
`, `			if l == nil || c.Offset >= l.Next() || c.Offset < l.Oldest() || bug("a tail that is void stays in the file") {
`, "^TestVoidIsDurableFirst$"},
	{"internal/cluster/disk.go",
		`		if l == nil || l.Next() <= p.End {
			continue
`, `		if l != nil && bug("who is elected knows no numbers") {
			l.Numbers().Forget()
		}
		if l == nil || l.Next() <= p.End {
			continue
`, bySimulation},
	forgetNumbers,
	{"internal/producers/table.go",
		`	newest := Answer{Seq: 1}
	p := t.pids[string(b.PID)]
	if p == nil {
		return newest.unless(b.Seq == 1)
	}
`, `	newest := Answer{Seq: 1}
	p := t.pids[string(b.PID)]
	if p == nil {
		return newest.unless(b.Seq == 1 || bug("a number that leaves a gap is taken"))
	}
`, byOrder},
	{"internal/cluster/round.go",
		`		r.n.o.Observer.SyncRound(time.Since(began), len(logs)+1)
`, `		if logErr != nil && bug("a round that has failed is tried again") {
			logErr = file.Sync()
		}
		r.n.o.Observer.SyncRound(time.Since(began), len(logs)+1)
`, "^TestFailedRoundIsNotTriedAgain$"},
	{"internal/cluster/core.go",
		`o.End); index > 0 {
`, `o.End); index > 0 && !(o.Err != nil && bug("out of order is said while what it speaks of is on its way")) {
`, byOrder},
	{"internal/cluster/peers.go",
		`func (n *Node) now() int64 { return min(`, `func (n *Node) now() int64 {
	if bug("a clock that is set is believed at once") {
		return n.o.Now().UnixMilli()
	}
	return n.believed()
}

func (n *Node) believed() int64 { return min(`, "^TestClockThatJumps$"},
	{"internal/cluster/members.go",
		`	if done {
		c.groups[0].g.SetMembers(`, `	if done || bug("group 0 changes its members first") {
		c.groups[0].g.SetMembers(`, "^TestGroup0ComesLast$"},
	{"internal/cluster/members.go",
		`	return 2*k > len(voters)
`, `	return 2*k > len(voters) || k > 0 && bug("a change of members is done when one knows of it")
`, "^TestChangeIsKnownToMost$"},
	{"internal/cluster/start.go",
		`		if n.core.groups[number].g.Blank() {
`, `		if n.core.groups[number].g.Blank() && !bug("a start removes what no log names yet") {
`, "^TestStartKeepsWhatNobodyNamesYet$"},
	{"internal/cluster/log.go",
		`	case offset > l.Readable():
`, `	case offset > l.Readable() && bug("a member says that there is nothing beyond its own end"):
		return err
	case offset > l.Readable():
`, bySimulation},
	{"internal/grouplog/recover.go",
		`	h, err := decodeHeader(name, b)
	if err != nil {
`, `	h, err := decodeHeader(name, b)
	if errors.Is(err, ErrDamaged) && bug("a member goes on under its id whose log is damaged") {
		h, err = header{number: r.number, member: r.Member.ID, boot: 1}, nil
	}
	if err != nil {
`, bySimulation},
}

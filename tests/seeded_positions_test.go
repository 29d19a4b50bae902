package tests

// positionsPlaces are what keeps the positions of consumers from being lost, given out
// twice or beyond what is stored.
var positionsPlaces = []seededPlace{
	{"internal/keeper/keeper.go",
		`		err = k.store(log, read, !k.synced, d.Lines())
`, `		err = k.store(log, read, !k.synced && !bug("the first save after a start is not synced"), d.Lines())
`, "^TestModel$"},
	{"internal/keeper/keeper.go",
		`		if !next.Before(p.At) {
			continue`,
		`		if !next.Before(p.At) || bug("positions beyond the end stay there at a start") {
			continue`, "^TestModel$"},
	{"internal/keeper/keeper.go",
		`	if v := k.table.Version(); !k.raised && v > 0 {`,
		`	if v := k.table.Version(); !k.raised && v > 0 && !bug("versions go on where they were found") {`, "^TestModel$"},
	{"internal/keeper/keeper.go",
		`	if err := log.Commit(k.ctx, a); err != nil {
		return err
	}
	if sync {`,
		`	if bug("a save is answered before it is committed") {
		return nil
	}
	if err := log.Commit(k.ctx, a); err != nil {
		return err
	}
	if sync {`, "^TestModel$"},
	{"internal/positions/table.go",
		`	if !in || int64(len(t.begun.of)) != t.begun.count {`,
		`	if !in || int64(len(t.begun.of)) != t.begun.count && !bug("half a snapshot counts") {`, "^TestSnapshot$"},
	{"internal/positions/table.go",
		`	} else if p.Version < was.Version {`,
		`	} else if p.Version < was.Version && !bug("an older record counts") {`, "^TestOlderRecords$"},
	{"internal/positions/draft.go",
		`	if c.Versioned && c.Version != present {`,
		`	if c.Versioned && c.Version != present && !bug("a version is not looked at") {`, "^TestRules$"},
	{"internal/positions/draft.go",
		`		if left, is := p.held(d.clock); is && p.As != c.As && !c.Force {`,
		`		if left, is := p.held(d.clock); is && p.As != c.As && !c.Force && !bug("a hold holds nobody off") {`, "^TestRules$"},
	{"internal/storage/commitlog/commit.go",
		`		if r.done == 0 && r.gathered == 0 && r.expect >= 0 && r.expect != next+bytes {`,
		`		if r.done == 0 && r.gathered == 0 && r.expect >= 0 && r.expect != next+bytes && !bug("an append at an offset goes to any other") {`, "^TestContract$"},
}

package tests

// webPlaces are what keeps those who write and follow over HTTP from losing messages or
// getting them twice, and their browsers from taking a message for a page.
var webPlaces = []seededPlace{
	{"internal/web/api/pack.go",
		`		chunk = chunk[i+1:]
	}
	return nil
}
`, `		chunk = chunk[i+1:]
	}
	if bug("batches go by how a body arrives") {
		return p.finish()
	}
	return nil
}
`, "^TestPack.*$"},
	{"internal/web/api/write.go",
		`	offset, known, err := w.r.caller.Batch(w.r.Context(), raw)
	if err != nil {
		return err
	}
`, `	offset, known, err := w.r.caller.Batch(w.r.Context(), raw)
	if err != nil && !bug("messages are told as stored whatever became of them") {
		return err
	}
`, "^TestWrite.*$"},
	{"internal/web/api/write.go",
		`		if err != nil {
			return w.r.bodyError(err)
		}
`, `		if err != nil {
			if bug("a line that was cut is stored") {
				p.end()
			}
			return w.r.bodyError(err)
		}
`, "^TestWriteCut$"},
	{"internal/web/api/read.go",
		`	return f.After(rd.ctx, p)
}
`, `	if bug("who goes on behind a message gets it again") {
		return p, nil
	}
	if bug("who goes on behind a message misses the next") {
		if next, err := f.After(rd.ctx, p); err == nil {
			p = next
		}
	}
	return f.After(rd.ctx, p)
}
`, "^TestFollow(Cut)?$"},
	{"internal/web/api/follow.go",
		`	f.event("topic", begin.resume, begin.first)
`, `	if bug("who was cut off before the first message has no id") {
		begin.resume = ""
	}
	f.event("topic", begin.resume, begin.first)
`, "^TestFollow(Cut)?$"},
	{"internal/web/api/follow.go",
		`			f.gap(&Gap{at.String(), fmt.Sprint(gap.To), gap.Cause})
`, `			if !bug("who follows is not told of what is gone") {
				f.gap(&Gap{at.String(), fmt.Sprint(gap.To), gap.Cause})
			}
`, "^TestFollowGaps$"},
	{"internal/web/api/follow.go",
		`			f.rd.GoTo(offset) // it is not sent
`, `			if !bug("who follows misses a batch if memory is short") {
				f.rd.GoTo(offset)
			}
`, "^TestFollowShort$"},
	{"internal/web/api/read.go",
		`		kind, gap = "text/plain; charset=utf-8", nil
`, `		kind, gap = "text/plain; charset=utf-8", nil
		if bug("messages are a page") {
			kind = "text/html; charset=utf-8"
		}
`, "^TestRead$"},
	{"internal/web/api/change.go",
		`func (r *request) requirePage() error {
`, `func (r *request) requirePage() error {
	if bug("a route does not look where a page is from") {
		return nil
	}
`, "^TestCreateAndDelete$"},
}

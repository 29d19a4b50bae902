package tests

// securityPlaces are checks that keep out who is not to come in, and what none may bring.
var securityPlaces = []seededPlace{
	{"internal/web/guard.go",
		`	if isLoopback(local) && !g.knows(r.Host) {`,
		`	if isLoopback(local) && !g.knows(r.Host) && !bug("HTTP is served whatever the host is called") {`, "^(TestGuard|TestRawRequests)$"},
	{"internal/web/guard.go",
		`	if origin, ok := r.Header["Origin"]; ok &&`,
		`	if origin, ok := r.Header["Origin"]; ok && !bug("HTTP is served to pages of other sites") &&`, "^(TestGuard|TestRawRequests)$"},
	{"internal/web/web.go",
		`	if len(r.TransferEncoding) > 0 {`,
		`	if len(r.TransferEncoding) > 0 && !bug("a connection goes on whose request may have had two ends") {`, "^TestRawRequests$"},
	{"internal/server/access.go",
		`	if !a.may(cmd, name) {`,
		`	if len(name) > 0 && bug("a topic is looked for before rights are") {
		if _, err := a.store.Log(name); err != nil {
			return f, err
		}
	}
	if !a.may(cmd, name) {`, "^(TestStrangers|TestRights)$"},
	{"internal/server/who.go",
		`	if a.judged && a.at == recalls {`,
		`	if a.judged && (a.at == recalls || bug("who is connected is not judged anew")) {`, "^(TestJudgedAnew|TestModel)$"},
	{"internal/server/who.go",
		`	until := time.Now().Add(c.delay.delay)
`, `	until := time.Now().Add(c.delay.delay)
	if bug("a wrong token is answered at once") {
		until = time.Now()
	}
`, "^TestGuessing$"},
	{"internal/server/session.go",
		`	if s.req.Command == protocol.Auth {
		clear(line)`,
		`	if s.req.Command == protocol.Auth && !bug("a token stays where it was read") {
		clear(line)`, "^TestTokenIsForgotten.*$"},
	{"internal/server/input.go",
		`	if c.auth != nil {
		clear(in.buf.b)`,
		`	if c.mayHoldToken() || c.auth != nil && !bug("a buffer that was too small keeps a token") {
		clear(in.buf.b)`, "^TestTokenIsForgotten.*$"},
	{"internal/auth/failures.go",
		`	if a.count++; a.count > manyFailures {`,
		`	if a.count++; a.count > manyFailures && !bug("who guesses often waits no longer") {`, "^TestFailures$"},
	{"internal/codec/codec.go",
		`	if most < 0 || n > uint64(most) {`,
		`	if most < 0 || n > uint64(most) && !bug("memory is taken for whatever size is announced") {`, "^TestBombs$"},
	{"internal/storage/journal/journal.go",
		`	if len(s.Packed) > 0 {
		b = header(Version)`,
		`	if len(s.Packed) > 0 && !bug("older versions take a topic with compressed batches") {
		b = header(Version)`, "^TestOldVersionsAreKeptAway$"},
}

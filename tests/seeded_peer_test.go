package tests

const (
	byStarts = "^(TestGoneBack|TestTwice|TestTwiceAfterBacklog|TestRefusedIsTold|TestDataEndsWithControl)$"
	byLoss   = "^(TestPeerGone|TestNotGone|TestBodyCutOff|TestBodiesMissing)$"
	byLimits = "^(TestReceivedIsBounded|TestSendDoesNotBlock|TestHostile)$"
)

// peerPlaces hold how members have listened to who they should not, or taken one for
// gone that was not.
var peerPlaces = []seededPlace{
	{"internal/peernet/inbound.go",
		`		if s.Position < m.position {
`, `		if s.Position < m.position && !bug("a member that has gone back is listened to") {
`, byStarts},
	{"internal/peernet/inbound.go",
		`		case m.conns[peer.Control] == old && said && drained:
`, `		case bug("a second start of a member takes the place of the first"):
			old.end()
		case m.conns[peer.Control] == old && said && (drained || bug("a member that has just died is taken for one that lives")):
`, byStarts},
	{"internal/peernet/inbound.go",
		`	m.position = max(m.position, position)
`, `	if !bug("a member may go back behind what its beats have said") {
		m.position = max(m.position, position)
	}
`, byStarts},
	{"internal/peernet/inbound.go",
		`	for refused := m.refused; m.examined > 0; {
`, `	for refused := m.refused; m.examined > 0 && !bug("data of a second start is taken"); {
`, byStarts},
	{"internal/peernet/inbound.go",
		`use == peer.Control && data != nil {
`, `use == peer.Control && data != nil && !bug("data of a member is taken when its control connection has ended") {
`, byStarts},
	{"internal/peernet/remote.go",
		`		if lost && errors.Is(err, syscall.ECONNREFUSED) {
`, `		if (lost || bug("a member that was never there is taken for gone")) && err != nil &&
			(errors.Is(err, syscall.ECONNREFUSED) || bug("a member that does not answer is taken for gone")) {
`, byLoss},
	{"internal/peernet/remote.go",
		`	r.t.node.Unreachable(r.id, -1)
`, `	if !bug("nobody learns that what was sent is lost") {
		r.t.node.Unreachable(r.id, -1)
	}
`, byLoss},
	{"internal/peernet/receive.go",
		`		done, err := c.hold(m.data, len(f.Message)+int(f.Body), dataBytes)
`, `		held := m.data
		if bug("what is large delays heartbeats") {
			held = m.control
		}
		done, err := c.hold(held, len(f.Message)+int(f.Body), dataBytes)
		if err == nil && bug("what is received has no bound") {
			done()
			done = func() {}
		}
`, byLimits},
	{"internal/peernet/queue.go",
		`q.bytes+n > maxLetterBytes ||`, `q.bytes+n > maxLetterBytes && !bug("what is to be sent has no bound") ||`, byLimits},
}

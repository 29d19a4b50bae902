// Package group is one group of a cluster: the topics that share one raft log and
// one leader. It decides what is stored, sent, answered and removed, and does
// nothing of it: an event comes in by a method, and what follows from it is taken
// with [Group.Take]. There is no goroutine, lock, clock, file or socket in it, and
// the same events give the same actions, as long as raft's jitter comes from the
// same source (crypto/rand).
//
//	g := group.New(group.Config{...}, state)
//	g.Tick()                 // time passes
//	g.Step(message, bodies)  // a member has said something
//	g.Submit(request)        // a client wants something stored
//	g.Durable(seq)           // all stores up to that one are on stable storage
//	for _, task := range g.Take().Tasks { … }
//
// # Tasks
//
// Tasks are for the disk and done one by one, in the order in which they come: a
// [Store] writes what raft wants written, a [Write] appends what clients have sent
// to the leader, and a [Carry] is what may only be done once it is certain: a
// name, a TRIM, a DELETE. Nobody waits for a task but the group, which is told:
// Durable, Written.
//
// # What is certain, and when
//
//   - The bytes of a run are in the topic's file before its entry is proposed, or
//     before the entry is written here. So a message that offers an entry to
//     others leaves when its bytes can be sent, and not when they are synced.
//   - What raft says after a Store is said when that Store is durable, in order, and
//     never if a sync failed that it waited for.
//   - An entry is applied when a majority has it, and this member has it on stable
//     storage. Readers see a topic up to the last run that was applied.
//   - An answer comes from what was applied at the index of its entry. That the own log
//     has another entry there is not enough: the entry may still win elsewhere.
//   - A TRIM, a DELETE or a name is carried out when a record is durable that says
//     that it is committed. A start does not know that otherwise.
//
// # The log
//
// The log of a group begins with a table, which says what its topics and members
// were then. Bytes that a TRIM removes are needed by nobody: the entries that name
// them count as compacted. A member that needs entries which are compacted is sent
// a table, which it takes over: takeover.go.
package group

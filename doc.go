// Package logd is the Go client of logd, a networked append-only log server.
//
// A topic is a named log: one ordered sequence of batches. A [Batch] collects
// messages, a [Client] appends it to a topic and reads batches back:
//
//	ctx := context.Background()
//	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{"127.0.0.1:1774"}})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//
//	var batch logd.Batch
//	batch.Add([]byte("hello"))
//	batch.Add([]byte("world"))
//	offset, err := client.Append(ctx, "greetings", &batch)
//	if err != nil {
//		return err
//	}
//
//	result, err := client.Read(ctx, "greetings", offset, logd.ReadOptions{})
//	if err != nil {
//		return err
//	}
//	defer result.Release()
//	for _, b := range result.Batches {
//		for m := range b.All() {
//			fmt.Printf("%d.%d %s\n", m.Offset, m.Delta, m.Body)
//		}
//	}
//
// A [Writer] makes the batches by itself: one Write is one message. It has
// several on their way at once, and keeps what it could not deliver in a
// [backlog.Backlog]. It works for package log and, by [NewSlogHandler], for log/slog.
//
// A [Scanner] reads messages one after another, from wherever it is told,
// follows a topic, and with a [Progress] remembers from run to run which
// messages are done.
//
// What an operator does, from retention to the end of topics, is package admin.
//
// A batch's offset is its byte position in its topic, a message's delta the
// byte position in its batch's data: offset and delta together name a message
// for ever. Both, like all counts, are int64.
//
// # One connection, pipelined
//
// A [Client] is one connection, shared by all its callers, who never wait for
// each other's answers before their requests are sent. The server answers in
// the order of the requests, so a slow answer holds up those behind it.
// [Client.StartAppend] keeps several batches under way from one goroutine.
//
// If reads and other calls are under way at the same time, the Client makes a
// second connection, and reads have one of the two for themselves from then on:
// a batch that is damaged on the server's disk can end the connection that it
// arrives on, and costs no append its answer. A read with [ReadOptions.Wait] has
// its connection for itself, another one if there are other calls, and a Scanner
// that follows a topic has one of its own: what they wait for holds up nobody.
//
// A lost connection fails the calls under way at once. The next call connects
// again, to the next address that can be reached. The Client repeats no
// append by itself; a Writer does. A Scanner reads on.
//
// # Errors
//
// Every error of a call is an [*OpError], which says what was done to which
// topic where. Test for the server's answers and for the Client's own errors
// with errors.Is and the Err values, [NotLeaderError] with errors.As, and
// decide what to do next with [IsRetryable], and after a failed append also
// with [IsNotStored] and [IsUnknown]: one of these two is true.
package logd

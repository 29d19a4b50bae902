package logd

import "errors"

// errNotAsked is why a Writer of NewLogWriter is failing at first.
var errNotAsked = errors.New("not connected yet")

// NewLogWriter returns a [Writer] for a program's log: it never makes the program
// wait, never stops it, and needs no server at the start. All of these are set:
//
//   - WhenFull is DropNewest: if there is no room, a message is dropped and
//     counted, and Write does not wait.
//   - WriteWhileFailing: while the server is away messages go to the backlog, by
//     default 64 MiB in memory. If the backlog is full Write returns an error,
//     which loggers ignore, and counts the message as Refused.
//   - TrimNewline: each line of package log is a message without its newline.
//   - NewLogWriter does not connect: the Writer does, in the background. Its state
//     is StateFailing until it has.
//
// Each option may change the configuration, to have an OnError or a
// backlog.Disk, for example. The error is that of WriterConfig.Validate, of the
// topic's name or of the backlog.
//
// At the program's end CloseContext delivers what is pending for as long as its
// context allows.
func NewLogWriter(c *Client, topic string, options ...func(cfg *WriterConfig)) (*Writer, error) {
	cfg := WriterConfig{WhenFull: DropNewest, WriteWhileFailing: true, TrimNewline: true}
	for _, change := range options {
		change(&cfg)
	}
	return newWriter(c, topic, cfg, func(*Writer) (failures int, err error) {
		return 1, &OpError{Op: "connect", Err: errNotAsked} // so the first attempt is made at once
	})
}

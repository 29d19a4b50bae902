package logd

// Progress remembers what a program has done with a topic's messages, for the
// next Scanner to begin where the last one has left off. A message may be
// delivered again, after a failure or a crash, but none is left out. Package
// progress has one in memory and one in a file.
//
// A Scanner calls Position once, when it is made, and Started before it delivers a
// message. Whoever works on the message calls Done, or [Scanner.Done]: in any
// order, from any goroutine, at the same time as Started.
type Progress interface {
	// Position returns the position of the oldest message that is not done, or
	// the zero Position if nothing is known. All that was started and is not done
	// counts as never started, since it will be delivered again.
	Position() (Position, error)
	// Started notes that the message is about to be delivered. An error ends the
	// Scanner.
	Started(id ID) error
	// BatchEnd is called after Started of the last message of a batch, with the
	// offset that follows the batch. That offset can be remembered instead of a
	// message of the batch, which retention may remove although nothing that is
	// wanted is in it. An error ends the Scanner.
	BatchEnd(id ID, next int64) error
	// Done notes that the program is done with the message, if err is nil, so that
	// it need not be delivered again. Otherwise the message has failed: it stays
	// the one to go back to until it is done after all.
	Done(id ID, err error) error
}

// TopicProgress is a Progress that remembers which topic its positions are of,
// by its TopicInfo.ID. They mean nothing in another topic that got the name
// after the first was deleted: a Scanner ends with ErrTopicReplaced then, and
// leaves the Progress as it is, or goes on if its OnGone agrees.
type TopicProgress interface {
	Progress
	// TopicID returns the id, and "" while none is known.
	TopicID() string
	// SetTopicID notes which topic is read from now on. If another one is known
	// it forgets all but that: of messages that are started and not done, Done
	// then returns an error.
	SetTopicID(id string) error
}

package logd

import "fmt"

// Put, Front and Drop let a program that appends batches by itself, with
// [Client.Append], keep those that it could not deliver. They are not for a
// DiskBacklog that a Writer uses.

// Put keeps a batch behind the others. It is as durable on return as the
// backlog's configuration says. e.Raw is copied.
//
// The error is ErrBacklogFull if there is no room for it; nothing of it is kept
// with any error.
func (b *DiskBacklog) Put(e *BacklogEntry) error {
	if topic := b.topic(); topic != "" && topic != topicOf(e.Raw) {
		return fmt.Errorf("logd: backlog %s keeps batches of topic %q: it takes none of topic %q", b.cfg.Path, topic, topicOf(e.Raw))
	}
	return b.put(e)
}

// Topic returns the topic whose batches are kept, and "" if there are none.
func (b *DiskBacklog) Topic() string { return b.topic() }

// Front returns the oldest batch, and false if there is none. The batch stays.
func (b *DiskBacklog) Front() (e BacklogEntry, ok bool, err error) {
	e, seq, err := b.after(0)
	return e, seq != 0, err
}

// Drop forgets the oldest batch, which was delivered. With an error it is
// forgotten until the backlog is opened again.
func (b *DiskBacklog) Drop() error {
	b.mu.Lock()
	if len(b.kept) == 0 {
		b.mu.Unlock()
		return nil
	}
	seq := b.kept[0].seq
	b.mu.Unlock()
	return b.delivered(seq)
}

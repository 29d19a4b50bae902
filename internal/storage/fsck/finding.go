package fsck

// Level tells what a finding means for the data.
type Level uint8

// The levels.
const (
	// Note is something to know of that loses nothing: what an interrupted write
	// left, a cache that is made anew by itself, a file that is not logd's.
	Note Level = iota
	// Damage is data that was stored and can't be read, or may not be.
	Damage
	// Unchecked is data of which nothing can be said: it can't be read, or a
	// newer version wrote it.
	Unchecked
)

// String returns the word for the level.
func (l Level) String() string { return [...]string{"note", "damage", "unchecked"}[l] }

// FindingKind says what was found. Its text is stable.
type FindingKind string

// The kinds of damage.
const (
	// FoundBatch is a range of a partition that is no valid batch.
	FoundBatch FindingKind = "batch"
	// FoundSetAside is a range that the journal knows as damaged and whose bytes
	// are still where they were.
	FoundSetAside FindingKind = "set-aside"
	// FoundContent is a compressed batch that is stored as it came and can't be unpacked,
	// or has other messages than it says. A repair leaves it: nobody knows what it was.
	FoundContent FindingKind = "content"
	// FoundMissing is a range of offsets that is in no file.
	FoundMissing FindingKind = "missing"
	// FoundOverlap is the end of a partition that reaches into the next one.
	FoundOverlap FindingKind = "overlap"
	// FoundJournal is a journal with damage before its end.
	FoundJournal FindingKind = "journal"
	// FoundFile is a file that logd should read and can't: it is no regular file.
	FoundFile FindingKind = "file"
	// FoundServer is what a server that has the directory open says of a topic.
	FoundServer FindingKind = "server"
)

// The kinds of notes.
const (
	// FoundTornTail is an append that did not reach the disk whole and was never
	// known to be durable. The next start cuts it off.
	FoundTornTail FindingKind = "torn-tail"
	// FoundJournalTail is the same of the journal.
	FoundJournalTail FindingKind = "journal-tail"
	// FoundHole is a range that the journal knows as damaged and that has no
	// bytes any more.
	FoundHole FindingKind = "hole"
	// FoundMended is a range that the journal knows as damaged and that holds
	// valid batches: put back from a backup, say.
	FoundMended FindingKind = "mended"
	// FoundIndex is an index that does not fit its partition. It is made anew
	// when it is needed.
	FoundIndex FindingKind = "index"
	// FoundTotals is a count in the journal that is not the partition's.
	FoundTotals FindingKind = "totals"
	// FoundUnfinished is a removal, truncation or deletion of a topic that a crash
	// interrupted. The next start finishes it.
	FoundUnfinished FindingKind = "unfinished"
	// FoundLeftOver is a file of logd's that it does not need any more.
	FoundLeftOver FindingKind = "left-over"
	// FoundStray is a file or folder that is not logd's. It is left alone.
	FoundStray FindingKind = "stray"
	// FoundMode is a mode that lets too many write, or the owner too little.
	FoundMode FindingKind = "mode"
)

// The kinds of what could not be checked.
const (
	FoundUnreadable FindingKind = "unreadable"
	FoundNewer      FindingKind = "newer"
)

// Finding is one thing that a check found.
type Finding struct {
	Level Level
	Kind  FindingKind
	Topic string // of one that does not have its name yet the folder; empty for the work directory itself
	File  string // name within the work directory

	Position int64 // in the file, where the range begins; -1 for the file as a whole
	Offset   int64 // in the topic's log; -1 where there is none
	Length   int64 // bytes
	Why      string

	remedies []Action
}

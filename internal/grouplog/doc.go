// Package grouplog keeps the member log: the one log of a node in which all its
// groups have their terms, votes and entries, and the tables that groups begin
// with. It knows nothing of raft, topics' files or the network, starts no
// goroutine and takes no lock: its methods are for one goroutine at a time, but for
// the Sync of [Log.File].
//
//	.cluster/member                    who this is: a line, replaced as a whole
//	         log/<n>                   the member log
//	         table-<g>-<index>-<crc>   what the log of group g begins with
//
// [Create] makes all that. [Open] reads it and changes nothing; when the caller has
// looked after what is not known to be on stable storage, [Recovery.Start] begins
// a new file and gives the [Log] to append to.
//
// # Format
//
// The log is one file, the one with the highest number, little endian:
//
//	header, 44 bytes                   record, any number
//	 0  8  magic "logd-grp"             0  4  CRC-32C of the other bytes, and of
//	 8  4  version, 1                         the record's position in 8 bytes
//	12  4  number of the file           4  4  length of the payload
//	16  8  id of the member             8  1  kind
//	24  8  boot                         9  1  zero
//	32  8  past                        10  2  group
//	40  4  CRC-32C of bytes 0 to 39    12  8  synced
//	                                   20  …  payload
//
//	1 HARD     8 term · 8 vote               5 SYNCED  –
//	2 ENTRY    8 index · 8 term ·            6 TABLE   8 index · 8 term ·
//	           1 type · data                           4 CRC-32C of the table
//	3 VOID     8 index: void from there on   7 CLEAN   –
//	4 COMMIT   8 index
//
// A position ([Pos]) is the number of a file and a place in it. As the checksum
// covers it, a block from elsewhere, or from an older file, is no record.
// Synced is the position up to which the log, and all bytes of topics that it
// names, were on stable storage when the record was written. SYNCED says nothing
// else. CLEAN is the last record of a log that was closed. Past counts the bytes of
// records that were ever appended before the file was begun, without what files
// begin with, so that no start and no new file makes a log look longer than it is.
//
// A file begins with all that the log says: of each group HARD, TABLE, every ENTRY
// since the table, and COMMIT; then SYNCED up to its own end, as no other record is.
// It is written under another name and synced before it gets its number, and only
// while all that it says is on stable storage. So every file stands by itself;
// **that it has its name says that its beginning was whole**; and of two files the
// older is needed no more. A new file is begun when one has grown by 16 MiB, or by
// as much as it began with if that is more ([Log.Roll]), and at each start.
//
// A kind, a type of entry or a version that this program does not know is
// [ErrNewer] and not damage. What is damaged, missing, or says what can't be is
// [ErrDamaged]: **a member that has lost synced log never votes, campaigns or
// acknowledges again under its id.**
//
// # What a crash leaves
//
// A power cut keeps of what was not synced any part, torn and out of order, and a
// sync that failed leaves bytes that can be read and will be gone. So at a start:
//
// S is the largest synced of any record that checks, wherever in the file it
// stands. What does not check before S is damage. From S on the log ends at the
// first record that does not check: nothing from there on was answered, since
// answers wait for the sync of the log, and the syncs of a file keep all of it.
// What follows in the file, even whole records, is not looked at again: the new
// file does not have it.
//
//   - While records are appended: they are there up to the first that does not
//     check. A record that is there without having been synced is as good as one
//     that was: it may be an answer that nobody heard.
//   - An entry is there, the bytes that it names are not, or not all: it stands at or
//     after S. The caller checks the bytes of each such entry and ends the group's
//     log at the first that fails ([Recovery.End]). An entry before S whose bytes
//     fail is not ended: it was answered, and its topic is damaged.
//   - An entry and its bytes are there, but only in memory, since their sync failed
//     before the crash: the caller writes and syncs the bytes again, and Start
//     writes every entry again, into a file that is new, before anything is done
//     by them.
//   - In the beginning of a file: it has no number yet. The older file is whole, and
//     all that is in it. What was begun is removed.
//   - The file has its number, the older one is still there, or comes back: it has
//     a lower number, and is removed. So is a table that no file names.
//   - After the number was given and before the folder is synced: either file is
//     there, and both say the same, but for what a start has ended, since nothing is
//     appended before that.
//   - VOID is written, not synced: the entries are void or are not; neither the bytes
//     that they name nor what takes their place was touched before its sync. After a
//     recovery that ended a group's log, the new file is that VOID: the caller cuts
//     bytes off after Start, not before.
//   - TABLE is written, not synced: the new table counts, or the one before, whose
//     file is there, too, since tables are removed when a newer file names others.
//   - COMMIT is lost: the one before counts. It is only ever of what is synced, so
//     that none stands behind a torn end of its entries.
//   - There was no room for all of some records: what was written of them is cut off,
//     and that is synced, before others take their place. Else records of two
//     attempts could stand one after another.
//   - Inside a start: the older file is untouched until the new one has its number.
//     The next start does the same again.
//   - After a mere kill all that was written is there. The header's boot says whether
//     it was one; then an entry whose bytes fail is damage wherever it stands.
//
// What nobody can tell from this file: that it was put back to an older state, or
// that its end is damaged where no later record says that it was synced. Peers
// find out the first by [Log.Position], and the second where they know more.
package grouplog

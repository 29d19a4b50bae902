package protocol

import (
	"errors"
	"strconv"
	"strings"
)

// usage is what HELP says of each command, in its order: the words that follow
// the name, and a line of meaning.
var usage = []struct {
	command        Command
	words, meaning string
}{
	{Help, "", "this list"},
	{Ping, "", "OK, if the server answers"},
	{Hello, "<version> [codecs=<a,b>] [client=<word>]", "what both sides know: the codecs in which batches may be sent to this client, and those of the server"},
	{Auth, "<token>", "show who you are, where the server wants to know"},
	{Topics, "[fresh=1]", "the names of all topics"},
	{Info, "<topic> [fresh=1] [settings=1]", "offsets, sizes, times and state of a topic, and the settings that are its own, or, with settings=1, all that count for it"},
	{Batch, "<size> <topic> <crc> <messages> [codec=<name>] [pid=<id> seq=<n>]", "append a batch; then come size bytes: for each message a line MSG <len>, its body and CR LF. With - for crc the server computes it; codec= tells that they are compressed; pid= and seq= number a producer's batches, so that one sent again is stored once"},
	{Read, "<topic> <offset> <messages> [wait=<ms>] [max-bytes=<n>] [verify=1] [fresh=1]", "batches from an offset on; wait= waits at the end, fresh=1 sees all that any member has acknowledged"},
	{Tail, "<topic> <messages> [wait=<ms>] [max-bytes=<n>] [fresh=1]", "batches from the oldest on"},
	{Seek, "<topic> <unix-ms> [fresh=1]", "the offset of the first batch stored at that time or later"},
	{Times, "<topic> <from> <to>", "when the batches between two offsets were stored"},
	{Trim, "<topic> <offset>", "remove the partitions that end at or before an offset"},
	{Create, "<topic>", "make a topic, unless it is there"},
	{Delete, "<topic> id=<hex> [now=1]", "remove a topic; INFO has its id"},
	{Retention, "<topic> [partitions=<n>] [bytes=<n>] [age=<ms>]", "which partitions will be removed, and when"},
	{Hooks, "", "the partitions that wait for their delete hook"},
	{Hook, "<topic> <base> retry|skip", "run a delete hook again now, or go without it"},
	{Config, "", "settings that clients need to know"},
	{Stats, "", "counters of the server"},
	{Cluster, "", "the members of the cluster"},
	{Groups, "", "the groups of topics: who leads, who votes, how far they are"},
	{Transfer, "<member> topic=<topic>|group=<n>", "have a member lead a topic's group, now and from now on"},
	{Drain, "<member> [off=1]", "have a member lead nothing until it starts anew, or until off=1"},
	{Leave, "<member> [force=1]", "remove a member, by name or id"},
	{Replace, "<old> <new>", "have a new member vote in the place of an old one"},
	{Set, "<key> <value> [topic=<pattern>] [dry-run=1]", "change a setting of the topics of a pattern, which - takes away, or, without topic=, of the cluster; with dry-run=1 tell what that would change"},
	{Position, "<topic> <consumer> [fresh=1] [at=<offset>.<delta>] [version=<n>] [id=<hex>] [ttl=<ms>] [hold=<ms>] [as=<word>] [note=<word>] [force=1] [forget=1]", "where a consumer of a topic is: without more words tell it; with at= set it, if version= is the one that it has; with hold= and as= hold it for yourself; with forget=1 remove it"},
	{Positions, "[topic=<topic>] [after=<topic>/<consumer>] [limit=<n>]", "where consumers are, and how far behind"},
	{Close, "", "end the connection"},
}

// Usage is a line of HELP: a command with its words, and what it does.
type Usage struct{ Words, Meaning string }

// AppendUsage appends a line of HELP.
func AppendUsage(dst []byte, u Usage) []byte {
	dst = append(dst, u.Words...)
	dst = append(dst, "  "...)
	dst = append(dst, u.Meaning...)
	return append(dst, '\r', '\n')
}

// AppendHelp appends the body of the answer to HELP: a line for each command.
func AppendHelp(dst []byte) []byte {
	for _, u := range usage {
		dst = AppendUsage(dst, Usage{string(appendUsage(nil, u.command, u.words)), u.meaning})
	}
	return dst
}

// ParseHelp parses the body of HELP.
func ParseHelp(body []byte) ([]Usage, error) {
	var all []Usage
	for line := range bodyLines(body) {
		words, meaning, ok := strings.Cut(line, "  ")
		if !ok || words == "" {
			return nil, errors.New(strconv.Quote(line) + " is not a command and what it does")
		}
		all = append(all, Usage{words, meaning})
	}
	return all, nil
}

func appendUsage(dst []byte, c Command, words string) []byte {
	dst = append(dst, c.String()...)
	if words != "" {
		dst = append(dst, ' ')
		dst = append(dst, words...)
	}
	return dst
}

// Hint returns what would be right in place of a request line that is none, if
// it is a lone word in lower case, which a person types to see what comes; else "". What may be a program's mistake is answered as it always was.
func Hint(line []byte) string {
	for _, u := range usage {
		if name := u.command.String(); string(line) == strings.ToLower(name) {
			return "commands are in upper case: " + string(appendUsage(nil, u.command, u.words))
		}
	}
	switch string(line) {
	case "?", "quit", "exit":
		return "HELP lists the commands, CLOSE ends the connection"
	}
	return ""
}

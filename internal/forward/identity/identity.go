// Package identity decides which file a path holds: one that is known, cut back, copied or
// moved, or a new one.
//
// A name says nothing of it, and an inode little: names are given to other files, and
// inodes are used again. So what a file begins with and what stands before the place up to
// where it was read are compared. [Decide] is a function of what a look has found and of
// what is known; it has no state and looks at nothing else.
//
// Two things it can't see, for they look the same: a file that was written anew with the
// very same bytes is taken for the old one, and one of less than [PrefixMost] bytes under
// another inode is taken for a new one, as an editor makes it.
package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"github.com/logd-dev/logd/internal/forward/feed"
)

const (
	// PrefixMost is the most bytes at the start of a file whose hash is kept. By so many
	// a file is known again under another inode.
	PrefixMost = 1024
	// AnchorMost is the most bytes before a place whose hash is kept.
	AnchorMost = 256
)

// Hash is the first 8 bytes of the SHA-256 of b.
func Hash(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// Prefix returns the hash of the first n bytes of a file, or io.ErrUnexpectedEOF if it
// has less.
func Prefix(r io.ReaderAt, n int64) (uint64, error) { return hash(r, 0, n) }

// Anchor returns the anchor at a place of a file, or io.ErrUnexpectedEOF if the file ends
// before.
func Anchor(r io.ReaderAt, at int64) (feed.Anchor, error) {
	from := max(0, at-AnchorMost)
	h, err := hash(r, from, at-from)
	return feed.Anchor{At: at, Hash: h}, err
}

func hash(r io.ReaderAt, from, n int64) (uint64, error) {
	b := make([]byte, n)
	if got, err := r.ReadAt(b, from); int64(got) < n {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return Hash(b), nil
}

// Begins reports whether a file begins as the record says; a shorter one does not.
func Begins(r io.ReaderAt, rec *feed.File) (bool, error) {
	h, err := Prefix(r, rec.PrefixLen)
	return err == nil && h == rec.Prefix, ignoreEnd(err)
}

// Holds reports whether an anchor is in its place. That at 0 is in all files.
func Holds(r io.ReaderAt, a feed.Anchor) (bool, error) {
	if a.At == 0 {
		return true, nil
	}
	got, err := Anchor(r, a.At)
	return err == nil && got.Hash == a.Hash, ignoreEnd(err)
}

// Same reports whether a file has what the record says at its start and at its position;
// where that is the start, in its first text.
func Same(r io.ReaderAt, rec *feed.File) (bool, error) {
	if ok, err := Begins(r, rec); !ok {
		return false, err
	}
	if rec.Position == 0 {
		return Holds(r, rec.Text)
	}
	for _, a := range rec.Anchors {
		if a.At == rec.Position {
			return Holds(r, a)
		}
	}
	return false, nil
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// State is what a look has found of a record's own file.
type State uint8

const (
	Intact    State = iota // it is there, and was not cut back
	Truncated              // its inode has other content now
	Gone                   // it is nowhere
)

// Record is what is known of a file.
type Record struct {
	*feed.File
	State State
	First int64 // the number of the look that has seen it first
	// Content is what its own file holds now, if that is intact; nil if it is not open.
	Content io.ReaderAt
	// Recent is what stood before its Position, as far as that is kept.
	Recent []byte
}

// past returns from where on a candidate has something new that ends before the Position
// of the record, if it has the same content: a copy that was made before the last of it was
// read. Behind an anchor that is not at its end there may be something that was read.
func (r *Record) past(c Candidate) (from int64, ok bool, err error) {
	if ok, err := Begins(c.Content, r.File); !ok {
		return 0, false, err
	}
	if begin := r.Position - int64(len(r.Recent)); c.Size-begin >= AnchorMost {
		b := make([]byte, c.Size-begin)
		if n, err := c.Content.ReadAt(b, begin); n < len(b) {
			return 0, false, ignoreEnd(err)
		}
		return c.Size, bytes.Equal(b, r.Recent[:len(b)]), nil
	}
	from, err = newestAnchor(c.Content, r.Anchors)
	return from, from > 0, err
}

// copied returns up to where a candidate that is the same has what an intact record's file
// has, as far as is known; and whether they are known to differ behind that.
func (r *Record) copied(c Candidate) (at int64, differs bool) {
	if r.Content == nil {
		return r.Position, false
	}
	if theirs, err := Anchor(r.Content, c.Size); err == nil {
		if ok, err := Holds(c.Content, theirs); ok {
			return c.Size, false
		} else if err != nil {
			return r.Position, false
		}
	}
	// If the file was truncated just now, it tells nothing.
	ok, err := Begins(r.Content, r.File)
	return r.Position, ok && err == nil
}

// Candidate is a file that a look has found.
type Candidate struct {
	Path          string
	Device, Inode uint64
	Size          int64
	Content       io.ReaderAt
	First         int64 // the number of the look that has seen it first
	// Waited says that it was seen first long enough ago, and Settled also that it has not
	// grown for so long.
	Waited, Settled bool
}

// Rule is by which of the rules a decision was made.
type Rule string

// The rules, in the order in which they are tried.
const (
	RuleSame    Rule = "a" // same inode and content
	RuleCut     Rule = "b" // same inode, cut back
	RuleOther   Rule = "c" // same inode, other content; the content is that of no other record
	RuleSaved   Rule = "d" // same path and content, other inode: an editor, a restored copy
	RuleCopy    Rule = "e" // same content elsewhere: a copy or a move
	RuleNew     Rule = "f"
	RuleWaiting Rule = "" // not decided: look again
)

// Decision is what a candidate is.
type Decision struct {
	Rule Rule
	// Record is the file that the candidate is, or with rule c was: an index, -1 for none.
	Record int
	// Replaced is the record whose inode the candidate has with other content, -1 for
	// none. Whatever the candidate is, what that record has unread must be looked for.
	Replaced int
	// From is where reading begins. With rule b it is before the record's position; with
	// rules c and f it is behind what a copy has that was read already.
	From int64
	// CopyOf is the record that the candidate may be a copy of: the one that is waited
	// for, or for which it was waited in vain. -1 for none. Up to Copied the candidate has
	// what that has.
	CopyOf int
	Copied int64
}

// Decide decides which of the records the candidate is. copies says whether files may be
// known again under another inode. An error is that of reading the candidate.
func Decide(c Candidate, records []Record, copies bool) (Decision, error) {
	d := Decision{Record: -1, Replaced: -1, CopyOf: -1}
	for i, r := range records {
		if r.Device != c.Device || r.Inode != c.Inode {
			continue
		}
		begins, err := Begins(c.Content, r.File)
		if err != nil {
			return d, err
		}
		same, err := Same(c.Content, r.File)
		switch {
		case err != nil:
			return d, err
		case same:
			d.Rule, d.Record, d.From = RuleSame, i, r.Position
			return d, nil
		case r.State == Gone: // the inode is used again
			continue
		case begins && c.Size < r.Position:
			d.Rule, d.Record, d.Replaced = RuleCut, i, i
			d.From, err = newestAnchor(c.Content, r.Anchors)
			return d, err
		}
		d.Replaced = i
	}
	if copies {
		if ok, err := d.moved(c, records); ok || err != nil {
			return d, err
		}
	}
	d.Rule = RuleNew
	if d.Replaced >= 0 {
		d.Rule = RuleOther
	}
	return d, nil
}

// newestAnchor returns the largest place of an anchor that the file has.
func newestAnchor(r io.ReaderAt, anchors [2]feed.Anchor) (int64, error) {
	at := int64(0)
	for _, a := range anchors {
		if ok, err := Holds(r, a); err != nil {
			return 0, err
		} else if ok {
			at = max(at, a.At)
		}
	}
	return at, nil
}

// moved tries the rules d and e, by which a file is known under another inode.
func (d *Decision) moved(c Candidate, records []Record) (bool, error) {
	best, wait, short := -1, false, false
	// maybe notes that the candidate may be a copy, which is decided when enough is true.
	maybe := func(i int, copied int64, enough bool) {
		if wait = wait || !enough; d.CopyOf < 0 || copied > d.Copied {
			d.CopyOf, d.Copied = i, copied
		}
	}
	for i, r := range records {
		if i == d.Replaced || r.Device == c.Device && r.Inode == c.Inode && r.State != Gone {
			continue
		}
		samePath := r.Path == c.Path
		if samePath && r.Position < PrefixMost || !samePath && c.First <= r.First {
			continue
		}
		// Of a file of which nothing was read it is only the beginning that is known.
		if r.Position == 0 && (r.State == Gone || r.PrefixLen == 0) {
			continue
		}
		same, err := Same(c.Content, r.File)
		if err != nil {
			return false, err
		}
		switch {
		case same && r.State == Intact: // a copy, or it was moved away and copied back
			copied, differs := r.copied(c)
			switch {
			case copied == c.Size: // so far; it may still be being made
				maybe(i, copied, c.Settled)
			case r.Position > 0 || !differs:
				maybe(i, copied, c.Waited)
			}
		case same && samePath:
			d.Rule, d.Record, d.From = RuleSaved, i, r.Position
			return true, nil
		case samePath: // it was written anew
		case same && r.Position == 0 && c.Size < r.Size:
			// It lacks what was seen last. If nothing has more, it is what is left of the file.
			maybe(i, 0, false)
		case same:
			if (r.State == Truncated || r.Position >= PrefixMost) && (best < 0 || records[best].Position < r.Position) {
				best = i
			}
		case c.Size < r.Position && (r.State != Gone || r.Position >= PrefixMost), r.Position == 0 && c.Size < r.Text.At:
			if r.State == Truncated && r.Position > 0 {
				from, ok, err := r.past(c)
				if err != nil {
					return false, err
				}
				if ok && from >= d.From {
					d.From, d.CopyOf, d.Copied = from, i, c.Size
					short = true
					continue
				}
			}
			// A copy that is being made does not have the place yet.
			begins, err := Begins(c.Content, r.File)
			if err != nil {
				return false, err
			}
			if begins {
				maybe(i, 0, c.Settled)
			}
		}
	}
	if best >= 0 {
		d.Rule, d.Record, d.From, d.CopyOf, d.Copied = RuleCopy, best, records[best].Position, -1, 0
		return true, nil
	}
	if short { // all that it has was read, but for what is behind From
		return false, nil
	}
	if wait {
		d.Rule = RuleWaiting
	}
	return wait, nil
}

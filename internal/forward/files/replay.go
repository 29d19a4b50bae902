package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// replayer reads lines of a file again. It has a descriptor of its own, and looks for the
// file by itself: its path may have another one.
type replayer struct{ file atomic.Pointer[feed.File] }

func (r *replayer) set(f *feed.File) {
	known := *f
	r.file.Store(&known)
}

// Replay is that of feed.Replay.
func (r *replayer) Replay(ctx context.Context, how string, from, to feed.Position, yield func(*feed.Line) error) error {
	set, err := lines.Parse(how)
	if err != nil {
		return err
	}
	known := r.file.Load()
	f, err := find(known, to.At)
	if err != nil {
		return err
	}
	defer f.Close()
	state, err := set.Resume(f, from.At)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	s := lines.Stream{Splitter: lines.Splitter{Settings: set, State: state}}
	// What is behind the place tells whether a part is the last one of its line.
	const ahead = 2
	reached := errors.New("all is read")
	give := func(p lines.Piece) error {
		if p.From >= to.At {
			return reached
		}
		if p.TooLong {
			return nil
		}
		if p.To > to.At {
			p = unfinished(p, to.At, set)
		}
		return yield(&feed.Line{Message: p.Message(), From: feed.Position{At: p.From}, To: feed.Position{At: p.To}})
	}
	buf := make([]byte, min(64<<10, max(0, to.At-from.At)+ahead))
	for at := from.At; at < to.At+ahead; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to.At+ahead-at)], at)
		if n == 0 {
			if err == io.EOF && at >= to.At {
				break
			}
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if err := s.Write(buf[:n], give); err != nil {
			return ignore(err, reached)
		}
		at += int64(n)
	}
	return ignore(s.End(give), reached)
}

func ignore(err, this error) error {
	if err == this {
		return nil
	}
	return err
}

// unfinished is a line as it was when the file ended at a place within it, and was thought
// to be finished. What is behind came later.
func unfinished(p lines.Piece, end int64, set lines.Settings) lines.Piece {
	p.Body = p.Body[:min(int64(len(p.Body)), end-p.From)]
	if set.TrimCR {
		p.Body = bytes.TrimSuffix(p.Body, []byte{'\r'})
	}
	p.To = end
	p.Last = p.Part > 1
	if !p.Last {
		p.Part = 0
	}
	return p
}

// find opens the file that is known, of at least size bytes: in its place, or in its
// folder by its inode, or by what it holds.
func find(known *feed.File, size int64) (*os.File, error) {
	if known == nil {
		return nil, os.ErrNotExist
	}
	try := func(path string, sameInode bool) *os.File {
		f, err := openFile(path)
		if err != nil {
			return nil
		}
		fi, err := f.Stat()
		if err == nil && fi.Mode().IsRegular() && fi.Size() >= size {
			k, _ := keyOf(fi)
			ok, err := identity.Same(f, known)
			if err == nil && ok && (!sameInode || k == key{known.Device, known.Inode}) {
				return f
			}
		}
		f.Close()
		return nil
	}
	if f := try(place(known), true); f != nil {
		return f, nil
	}
	for _, sameInode := range []bool{true, false} {
		for _, dir := range folders(known) {
			names, err := os.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, e := range names {
				if e.Type().IsRegular() {
					if f := try(filepath.Join(dir, e.Name()), sameInode); f != nil {
						return f, nil
					}
				}
			}
		}
	}
	return nil, fmt.Errorf("%s: the file is not there any more, nor in its folder under another name: %w", place(known), os.ErrNotExist)
}

// folders are where a file may be under another name.
func folders(f *feed.File) []string {
	all := []string{filepath.Dir(place(f))}
	if dir := filepath.Dir(f.Path); dir != all[0] {
		all = append(all, dir)
	}
	return all
}

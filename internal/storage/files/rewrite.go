package files

import "github.com/logd-dev/logd/internal/vfs"

// Rewrite writes the bytes of a file from one position to another again. A
// process that ended after a failed sync leaves pages that read well, count as
// clean and are not on the disk: another sync says nothing about them unless
// they are written once more.
func Rewrite(f vfs.File, from, to int64) error {
	b := make([]byte, min(rewriteChunk, max(to-from, 0)))
	for from < to {
		p := b[:min(int64(len(b)), to-from)]
		if err := vfs.ReadFull(f, p, from); err != nil {
			return err
		}
		if _, err := f.WriteAt(p, from); err != nil {
			return err
		}
		from += int64(len(p))
	}
	return nil
}

// Truncate cuts a file off at size, durably.
func Truncate(cf *File, size int64) error {
	f, err := cf.Acquire(ToWrite)
	if err != nil {
		return err
	}
	defer cf.Release()
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}

// rewriteChunk is how much is written again at a time.
const rewriteChunk = 1 << 20

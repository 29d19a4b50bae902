package vfs

import (
	"io/fs"
	"path"
)

// Replace gives a file new contents, durably: after a crash at any moment it has the old
// ones or the new ones, and when Replace has returned nil the new ones. With an error
// either may be there. A file of that name with .tmp behind it is used meanwhile.
func Replace(fsys FS, name string, data []byte, perm fs.FileMode) error {
	temp := name + ".tmp"
	f, err := fsys.OpenFile(temp, ReadWrite|Create|Truncate, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		fsys.Remove(temp)
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

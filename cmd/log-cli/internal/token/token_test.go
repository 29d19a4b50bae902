package token

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestReplace says that a file keeps its mode and its place behind a symbolic link, and,
// where the test may give files away, its owner and group.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "auth.toml"), filepath.Join(dir, "link.toml")
	if err := os.WriteFile(file, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("auth.toml", link); err != nil {
		t.Fatal(err)
	}
	owner := os.Geteuid()
	if owner == 0 {
		owner = 4711
		if err := os.Chown(file, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := replace(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode().Type() != fs.ModeSymlink {
		t.Fatalf("the link is %v, %v now", st, err)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	if st.Mode().Perm() != 0o640 || int(sys.Uid) != owner || os.Geteuid() == 0 && int(sys.Gid) != owner {
		t.Fatalf("mode %v, owner %d, group %d", st.Mode(), sys.Uid, sys.Gid)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "new" {
		t.Fatalf("the file has %q, %v", got, err)
	}
	if err := replace(filepath.Join(dir, "fresh.toml"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "fresh.toml")); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("a new file: %v, %v", st.Mode(), err)
	}
}

package offline

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/logd-dev/logd/internal/storage/layout"
)

// lockHolder names the process that holds the lock of a work directory, as far
// as the kernel tells.
func lockHolder(dir string) string {
	if pid := lockPID(dir); pid > 0 {
		return fmt.Sprintf("another process (pid %d)", pid)
	}
	return "another process"
}

// lockPID returns the id of that process, 0 if it is not known.
func lockPID(dir string) int {
	for _, name := range layout.LockNames {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			if pid := flockHolder(sys.Ino); pid > 0 {
				return pid
			}
		}
	}
	return 0
}

// flockHolder finds in the kernel's list who has locked the file with this
// inode, or 0. The list has the device too, but not on every file system the
// one that stat tells; two locked files with one inode are taken for unknown.
func flockHolder(inode uint64) int {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer f.Close()
	holder := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
		words := strings.Fields(lines.Text())
		if len(words) < 6 || words[1] != "FLOCK" {
			continue
		}
		_, number, _ := strings.Cut(words[5], ":")
		_, number, _ = strings.Cut(number, ":")
		pid, err := strconv.Atoi(words[4])
		if err != nil || number != strconv.FormatUint(inode, 10) {
			continue
		}
		if holder != 0 && holder != pid {
			return 0
		}
		holder = pid
	}
	return holder
}

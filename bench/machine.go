package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/bench/internal/report"
)

// machine tells what the figures were taken on. What can't be found out is
// left out.
func machine(dir string) []report.Fact {
	facts := []report.Fact{{Name: "cores", Value: fmt.Sprintf("%d, shared by the servers and by what measures them", runtime.NumCPU())}}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, report.Fact{Name: name, Value: value})
		}
	}
	add("processor", field("/proc/cpuinfo", "model name"))
	add("memory", field("/proc/meminfo", "MemTotal"))
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		add("kernel", unix.ByteSliceToString(u.Sysname[:])+" "+unix.ByteSliceToString(u.Release[:]))
	}
	add("file system of the data", fileSystem(dir))
	add("Go", runtime.Version())
	return facts
}

// field returns the value of the first line of a file that begins with name.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem names the file system that dir is on.
func fileSystem(dir string) string {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return ""
	}
	switch int64(fs.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs: in memory, so that a sync costs nothing and proves nothing"
	}
	return fmt.Sprintf("of type %#x", fs.Type)
}

// loadAverage is what the machine is busy with.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

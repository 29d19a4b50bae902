package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of times in /proc/PID/stat on all of Linux.
const ticksPerSecond = 100

// Usage is what a process has used since it was started.
type Usage struct {
	CPUSeconds float64 // user and system, of all threads
	PeakBytes  int64   // the most memory that was resident at once
	Bytes      int64   // memory that is resident now
	Files      int     // open now, sockets included
	DiskBytes  int64   // caused to be read from disk
}

// Usage reads what the process has used.
func (p *Process) Usage() (Usage, error) {
	return usage(filepath.Join("/proc", strconv.Itoa(p.PID())))
}

func usage(dir string) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	if u.CPUSeconds, err = cpuSeconds(string(stat)); err != nil {
		return u, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	peak, err := number(string(status), "VmHWM:")
	if err != nil {
		return u, err
	}
	u.PeakBytes = peak << 10
	now, err := number(string(status), "VmRSS:")
	if err != nil {
		return u, err
	}
	u.Bytes = now << 10
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return u, err
	}
	u.Files = len(files)
	// Some kernels are built without it.
	if io, err := os.ReadFile(filepath.Join(dir, "io")); err == nil {
		if u.DiskBytes, err = number(string(io), "read_bytes:"); err != nil {
			return u, err
		}
	}
	return u, nil
}

// CPU returns how long the threads of the process have run: more exactly than Usage, but
// for those that have ended.
func (p *Process) CPU() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.PID()))
	var sum time.Duration
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, err
}

// cpuSeconds returns user and system time of a line of /proc/PID/stat. The
// name of the program, in parentheses, may hold anything.
func cpuSeconds(stat string) (float64, error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	const user, system = 11, 12 // counted from the field after the name
	if end < 0 || len(fields) <= system {
		return 0, fmt.Errorf("/proc/PID/stat is %q: want a name in parentheses and %d fields", stat, system+1)
	}
	var ticks int64
	for _, f := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond, nil
}

// number returns the number after the name in a text of lines.
func number(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		fields := strings.Fields(value)
		if len(fields) == 0 {
			break
		}
		return strconv.ParseInt(fields[0], 10, 64)
	}
	return 0, fmt.Errorf("no number after %q", name)
}

package work

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/bench/internal/process"
	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// done is what a phase did.
type done struct {
	messages, bytes int64
	elapsed         time.Duration // if the phase measured its time itself
}

// measure runs a phase and returns its rates and what the server used for it.
func measure(server system.Server, phase func() (done, error)) (report.Values, error) {
	return measureAll([]system.Server{server}, phase)
}

// usage returns what servers have used together; memory and files are those of the
// one with the most.
func usage(servers []system.Server) (process.Usage, error) {
	var all process.Usage
	for _, s := range servers {
		u, err := s.Process().Usage()
		if err != nil {
			return all, err
		}
		all.CPUSeconds += u.CPUSeconds
		all.DiskBytes += u.DiskBytes
		all.PeakBytes = max(all.PeakBytes, u.PeakBytes)
		all.Bytes = max(all.Bytes, u.Bytes)
		all.Files = max(all.Files, u.Files)
	}
	return all, nil
}

// measureAll runs a phase and returns its rates and what the servers used for it.
func measureAll(servers []system.Server, phase func() (done, error)) (report.Values, error) {
	before, err := usage(servers)
	if err != nil {
		return nil, err
	}
	most := watchFiles(servers)
	began := time.Now()
	d, err := phase()
	if d.elapsed == 0 {
		d.elapsed = time.Since(began)
	}
	files := most()
	if err != nil {
		return nil, err
	}
	after, err := usage(servers)
	if err != nil {
		return nil, err
	}
	cpu := after.CPUSeconds - before.CPUSeconds
	v := report.Values{
		report.CPU:   cpu,
		report.Peak:  float64(after.PeakBytes) / (1 << 20),
		report.Files: float64(max(files, before.Files, after.Files)),
	}
	if d.messages > 0 {
		v[report.Messages] = float64(d.messages) / d.elapsed.Seconds()
		v[report.CPUMessage] = cpu * 1e6 / float64(d.messages)
	}
	if d.bytes > 0 {
		v[report.Bytes] = float64(d.bytes) / 1e6 / d.elapsed.Seconds()
	}
	return v, nil
}

// watchFiles looks at servers four times a second until the function that it
// returns is called, which returns the greatest number of files that one had open
// at a look.
func watchFiles(servers []system.Server) (most func() int) {
	stop := make(chan struct{})
	var files int
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(time.Second / 4)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if u, err := usage(servers); err == nil {
					files = max(files, u.Files)
				}
			case <-stop:
				return
			}
		}
	})
	return func() int {
		close(stop)
		group.Wait()
		return files
	}
}

// Settle syncs the file system that dir is on.
func Settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// dropCache takes the files of a folder out of the page cache. They must be
// synced.
func dropCache(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return os.NewSyscallError("fadvise", unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	})
}

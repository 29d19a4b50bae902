package cluster

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"github.com/logd-dev/logd/internal/vfs"
)

// errDead is what a process gets from the system that is not there any more.
var errDead = errors.New("the process is dead")

// process is a disk as one process sees it: when that dies its locks and open files
// go, and nothing that it still does has an effect.
type process struct {
	vfs.FS
	mu   sync.Mutex
	dead bool
	full bool // nothing can be written
	open map[io.Closer]bool
}

func newProcess(disk vfs.FS) *process { return &process{FS: disk, open: make(map[io.Closer]bool)} }

func (p *process) kill() {
	p.mu.Lock()
	p.dead = true
	open := p.open
	p.open = nil
	p.mu.Unlock()
	for c := range open {
		c.Close()
	}
}

func (p *process) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	return nil
}

// room returns the error of a write to a full disk.
func (p *process) room() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	if p.full {
		return syscall.ENOSPC
	}
	return nil
}

// keep notes what is to be closed when the process dies.
func (p *process) keep(c io.Closer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	p.open[c] = true
	return nil
}

func (p *process) close(c io.Closer) error {
	p.mu.Lock()
	dead := p.dead
	delete(p.open, c)
	p.mu.Unlock()
	if dead {
		return nil
	}
	return c.Close()
}

func (p *process) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if err := p.err(); err != nil {
		return nil, err
	}
	f, err := p.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &processFile{f, p}, p.keep(f)
}

func (p *process) Mkdir(name string, perm fs.FileMode) error {
	if err := p.err(); err != nil {
		return err
	}
	return p.FS.Mkdir(name, perm)
}

func (p *process) Remove(name string) error {
	if err := p.err(); err != nil {
		return err
	}
	return p.FS.Remove(name)
}

func (p *process) Rename(from, to string) error {
	if err := p.err(); err != nil {
		return err
	}
	return p.FS.Rename(from, to)
}

func (p *process) SyncDir(name string) error {
	if err := p.err(); err != nil {
		return err
	}
	return p.FS.SyncDir(name)
}

func (p *process) SyncAll() error {
	if err := p.err(); err != nil {
		return err
	}
	return p.FS.SyncAll()
}

func (p *process) Lock(name string) (io.Closer, error) {
	if err := p.err(); err != nil {
		return nil, err
	}
	l, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	return processLock{l, p}, p.keep(l)
}

type processLock struct {
	io.Closer
	p *process
}

func (l processLock) Close() error { return l.p.close(l.Closer) }

type processFile struct {
	vfs.File
	p *process
}

func (f *processFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.p.room(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func (f *processFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	if err := f.p.room(); err != nil {
		return 0, err
	}
	return f.File.WritevAt(bufs, off)
}

func (f *processFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.p.err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *processFile) Allocate(size int64) error {
	if err := f.p.room(); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *processFile) Truncate(size int64) error {
	if err := f.p.err(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *processFile) Sync() error {
	if err := f.p.err(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *processFile) Close() error { return f.p.close(f.File) }

package storage

import (
	"fmt"
	"io/fs"
	"sync"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Progress is how far the recovery of a work directory is. The zero Progress is that of
// one that has not begun. It is safe for concurrent use; on a nil one nothing is noted.
type Progress struct {
	mu           sync.Mutex
	bytes        map[string]int64 // by topic that is not open yet: what may have to be read
	topics, done int
	all, gone    int64 // bytes
}

// expect notes the topics that there are. What can't be looked at counts as empty.
func (p *Progress) expect(fsys vfs.FS, dir []fs.DirEntry) {
	if p == nil {
		return
	}
	bytes := make(map[string]int64)
	for _, d := range dir {
		if name := d.Name(); layout.IsFolder(d) && !layout.Reserved(name) && batch.ValidTopic(name) {
			bytes[name] = headSize(fsys, name)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes, p.topics = bytes, len(bytes)
	for _, n := range bytes {
		p.all += n
	}
}

// headSize returns the size of a topic's newest partition: of older ones nothing is read.
func headSize(fsys vfs.FS, topic string) int64 {
	dir, err := fsys.ReadDir(topic)
	if err != nil {
		return 0
	}
	newest, head := int64(-1), fs.DirEntry(nil)
	for _, d := range dir {
		if base, ok := layout.Base(d.Name()); ok && base > newest {
			newest, head = base, d
		}
	}
	if head == nil {
		return 0
	}
	info, err := head.Info()
	if err != nil {
		return 0
	}
	return info.Size()
}

// opened notes that nothing more is done for a topic.
func (p *Progress) opened(topic string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.gone += p.bytes[topic]
}

// String returns the progress for people, "37 of 120 topics, 61 %", where the share is
// of bytes, or nothing if that is not known yet.
func (p *Progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topics == 0 {
		return ""
	}
	percent := int64(p.done) * 100 / int64(p.topics)
	if p.all > 0 {
		percent = int64(float64(p.gone) / float64(p.all) * 100)
	}
	return fmt.Sprintf("%d of %d topics, %d %%", p.done, p.topics, percent)
}

package commitlog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestNoNewJournalOnceDeleted: the name is that of another topic's journal by then.
func TestNoNewJournalOnceDeleted(t *testing.T) {
	disk := vfstest.New()
	if err := disk.WriteFile("t/journal", []byte("of this topic")); err != nil {
		t.Fatal(err)
	}
	l := &Log{store: &Shared{FS: disk, FileMode: 0o600}, folder: files.NewFolder("t")}
	s := journal.NewState()
	size, err := l.renewJournal(&s)
	got, read := disk.ReadFile("t/journal")
	if err := errors.Join(err, read); err != nil || int64(len(got)) != size || bytes.Equal(got, []byte("of this topic")) {
		t.Fatalf("a new journal of %d bytes, %v: %q", size, err, got)
	}
	l.folder.Take(func() bool { return true })
	if err := disk.WriteFile("t/journal", []byte("of another topic")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.renewJournal(&s); !errors.Is(err, topic.ErrDeleted) {
		t.Errorf("of a deleted topic: %v", err)
	}
	if got, err := disk.ReadFile("t/journal"); err != nil || string(got) != "of another topic" {
		t.Errorf("the journal of the other topic is %q, %v", got, err)
	}
}

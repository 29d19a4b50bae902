package tests

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

var restartCases = []systemCase{
	{name: "restarts after SIGTERM", adjust: (*config).removing, run: func(s *scene) { restarts(s, (*server).stop) }},
	{name: "restarts after kill -9", adjust: (*config).removing, run: func(s *scene) { restarts(s, (*server).kill) }},
	{name: "a second server", run: secondServer},
	{name: "an emptied topic", run: emptiedTopic},
	{name: "synced batches", run: syncedBatches},
	{name: "file modes", run: fileModes},
}

// restarts ends the server at every stage of a topic's life: all that was
// acknowledged is there again, and the next batch follows it.
func restarts(s *scene, end func(*server)) {
	first := 0
	again := func(stage string) {
		s.Helper()
		s.restart(end)
		s.verify(first)
		if s.Failed() {
			s.Fatalf("wrong after a restart, stage: %s", stage)
		}
	}
	again("nothing written")
	s.append("one")
	again("one batch")
	again("one batch, nothing since the last start")
	for s.client.number(s.topic, "Partitions") < 2 {
		s.fill(1)
	}
	again("a partition just begun")
	s.fill(3)
	again("two partitions")
	s.fill(rotated)
	first = s.firstKept()
	again("partitions removed")
	s.fill(rotated)
	first = s.firstKept()
	again("more partitions removed")
	for _, b := range s.stored[:first] {
		s.client.refused("not found", "READ %s %d 1\r\n", s.topic, b.offset)
	}
	s.append("the last one")
	s.firstKept()
}

// secondServer: a work directory has one server; the first is unharmed.
func secondServer(s *scene) {
	s.fill(3)
	code, text := refused(s, s.dir, s.flags...)
	if code != 1 || !strings.Contains(text, "in use by another logd") {
		s.Errorf("a second server on the work directory exits with %d and says\n%s", code, text)
	}
	s.fill(3)
	s.verify(0)
	// What a killed server leaves does not keep the next one out.
	s.restart((*server).kill)
	s.verify(0)
}

// oldDirectory: a work directory of the 0.3 line has partitions and nothing
// else. It opens as it is.
func oldDirectory(s *scene) {
	s.fill(rotated)
	s.server.stop()
	entries, err := os.ReadDir(filepath.Join(s.dir, s.topic))
	s.client.check(err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			s.client.check(os.Remove(filepath.Join(s.dir, s.topic, e.Name())))
		}
	}
	s.begin()
	s.verify(0)
	s.fill(rotated)
	s.verify(0)
	s.restart((*server).kill)
	s.verify(0)
}

// emptiedTopic: a topic whose last partition has gone keeps its place.
func emptiedTopic(s *scene) {
	s.fill(5)
	empty := func() {
		s.Helper()
		next := s.next()
		eventually(s, "the topic is empty", func() bool { return s.client.number(s.topic, "Oldest") == next })
		info := fields(s.client.ask("INFO %s", s.topic))
		for name, want := range map[string]string{"Next": fmt.Sprint(next), "Bytes": "0", "Messages": "0", "Batches": "0", "OldestTime": "", "NewestTime": ""} {
			if info[name] != want {
				s.Errorf("INFO of an empty topic says %s: %s, want %s", name, info[name], want)
			}
		}
		for _, b := range s.stored {
			s.client.refused("not found", "READ %s %d 1\r\n", s.topic, b.offset)
		}
		s.client.refused("not found", "READ %s %d 1\r\n", s.topic, next)
		s.client.refused("not found", "TAIL %s 1\r\n", s.topic)
		s.client.write("TAIL %s 1 wait=1\r\nSEEK %s 0\r\n", s.topic, s.topic)
		s.client.line(fmt.Sprintf("OK %d 0", next))
		s.client.line(fmt.Sprintf("OK %d 0", next))
	}
	s.restart((*server).stop, "--retention-age", "1ms")
	empty()
	for _, name := range s.others { // they are of that age, too
		eventually(s, name+" is empty", func() bool { return s.client.number(name, "Messages") == 0 })
	}
	s.before = s.holdings()
	s.restart((*server).kill)
	empty()
	s.restart((*server).stop)
	empty()
	first := len(s.stored)
	s.fill(3)
	s.verify(first)
	s.restart((*server).kill)
	s.verify(first)
}

// syncedBatches: no more batches than --flush-batches says are acknowledged and
// not on stable storage, as far as the server itself tells.
func syncedBatches(s *scene) {
	unsynced := func() (n int) {
		synced := s.client.number(s.topic, "Synced")
		for _, b := range s.stored {
			if b.end() > synced {
				n++
			}
		}
		return n
	}
	for range 20 {
		s.fill(1)
		if n := unsynced(); s.config.flushBatches > 0 && n > s.config.flushBatches-1 {
			s.Errorf("%d batches are not synced, with --flush-batches %d", n, s.config.flushBatches)
		}
	}
	s.restart((*server).kill)
	if n := unsynced(); n > 0 {
		s.Errorf("%d batches that are served after a kill are not synced", n)
	}
	s.restart((*server).stop, "--flush-interval", "1ms")
	s.fill(3)
	eventually(s, "all is synced", func() bool { return unsynced() == 0 })
	s.verify(0)
}

// fileModes: nobody else can read what is stored unless it was asked for.
func fileModes(s *scene) {
	modes := func(want fs.FileMode) {
		s.Helper()
		err := filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if d.IsDir() && info.Mode().Perm() != 0o700 || strings.HasSuffix(name, ".log") && info.Mode().Perm() != want {
				s.Errorf("%s has mode %v", name, info.Mode())
			}
			if info.Mode().Perm()&0o006 != 0 {
				s.Errorf("%s can be read by anybody: %v", name, info.Mode())
			}
			return nil
		})
		s.client.check(err)
	}
	s.append("one")
	modes(0o600)
	s.server.stop()
	s.client.check(os.RemoveAll(s.dir))
	s.stored, s.others, s.before = nil, nil, ""
	s.begin("--file-mode", "0640")
	s.append("one")
	// The umask takes away what it does of any file.
	probe := filepath.Join(s.TempDir(), "probe")
	s.client.check(os.WriteFile(probe, nil, 0o640))
	info, err := os.Stat(probe)
	s.client.check(err)
	modes(info.Mode().Perm())
}

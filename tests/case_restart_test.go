package tests

import (
	"os"
	"path/filepath"
	"strings"
)

var restartCases = []systemCase{
	{name: "restarts after SIGTERM", adjust: (*config).removing, run: func(s *scene) { restarts(s, (*server).stop) }},
	{name: "restarts after kill -9", adjust: (*config).removing, run: func(s *scene) { restarts(s, (*server).kill) }},
	{name: "a second server", run: secondServer},
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

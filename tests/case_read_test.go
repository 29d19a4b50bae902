package tests

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

var readCases = []systemCase{
	{name: "reads that span batches", run: spanningReads},
	{name: "reads across partitions", adjust: (*config).rotating, run: partitionReads},
	{name: "last messages of partitions", adjust: (*config).rotating, run: lastOfPartitions},
	{name: "removed partitions", adjust: (*config).removing, run: removedPartitions},
	{name: "offsets where no batch begins", run: wrongOffsets},
	{name: "seek by time", run: seekByTime},
	{name: "a 0.3 directory", adjust: (*config).rotating, run: oldDirectory},
}

// spanningReads: from each batch on, for each number of messages, the answer
// has exactly as many batches as it takes.
func spanningReads(s *scene) {
	s.fill(12)
	for i, first := range s.stored {
		for _, messages := range []int64{1, 2, 3, 5, 8, 30, 100} {
			what := fmt.Sprintf("READ %d %d", first.offset, messages)
			s.same(what, s.client.read(s.topic, first.offset, messages), s.wantBatches(i, messages, 0))
			length := int64(len(first.wire))
			two := s.stored[min(i+1, len(s.stored)-1)].end() - first.offset
			for _, maxBytes := range []int64{0, 1, length - 1, length, two - 1, two, two + 1, 400, 1 << 40} {
				word := fmt.Sprintf("max-bytes=%d", maxBytes)
				want := s.wantBatches(i, messages, max(maxBytes, 1))
				s.same(what+" "+word, s.client.read(s.topic, first.offset, messages, word), want)
			}
		}
	}
	s.client.write("TAIL %s 5\r\n", s.topic)
	offset, got, err := s.client.batches()
	s.client.check(err)
	s.same("TAIL 5", got, s.wantBatches(0, 5, 0))
	if offset != 0 {
		s.Errorf("TAIL names offset %d, want 0", offset)
	}
}

// rotated is how many batches make several partitions of a rotating topic.
const rotated = 100

// partitionReads: partition files are not seen by readers, and hold nothing
// but what is read.
func partitionReads(s *scene) {
	s.fill(rotated)
	bases := partitions(s, s.dir, s.topic)
	if len(bases) < 3 {
		s.Fatalf("%d partitions are not enough for this case", len(bases))
	}
	if got := s.client.number(s.topic, "Partitions"); got != int64(len(bases)) {
		s.Errorf("INFO counts %d partitions, there are %d files", got, len(bases))
	}
	for i, b := range s.stored {
		s.same(fmt.Sprintf("READ %d", b.offset), s.client.read(s.topic, b.offset, 1), s.stored[i:i+1])
		s.same(fmt.Sprintf("READ %d to the end", b.offset), s.client.read(s.topic, b.offset, 100), s.wantBatches(i, 100, 0))
	}
	var all []byte
	for _, base := range bases {
		if base != int64(len(all)) {
			s.Errorf("partition %d begins after %d bytes", base, len(all))
		}
		content, err := os.ReadFile(partitionFile(s.dir, s.topic, base))
		s.client.check(err)
		if size := int64(len(content)); size > s.config.partitionSize || size == 0 {
			s.Errorf("partition %d has %d bytes, the limit is %d", base, size, s.config.partitionSize)
		}
		all = append(all, content...)
	}
	got, err := readBatches(bytes.NewReader(all), 0)
	s.client.check(err)
	s.same("the files", got, s.stored)
}

// lastOfPartitions: what stands last in a partition is read alone, and
// together with what stands first in the next.
func lastOfPartitions(s *scene) {
	s.fill(rotated)
	bases := partitions(s, s.dir, s.topic)
	begins := make(map[int64]bool)
	for _, base := range bases[1:] {
		begins[base] = true
	}
	seen := 0
	for i, b := range s.stored {
		if !begins[b.end()] {
			continue
		}
		seen++
		s.same("the last batch alone", s.client.read(s.topic, b.offset, int64(len(b.messages))), s.stored[i:i+1])
		s.same("and one message more", s.client.read(s.topic, b.offset, int64(len(b.messages)+1)), s.stored[i:i+2])
		s.same("the first of the next", s.client.read(s.topic, b.end(), 1), s.stored[i+1:i+2])
		s.client.refused("not found", "READ %s %d 1\r\n", s.topic, b.end()-1)
	}
	if seen != len(begins) || seen < 2 {
		s.Errorf("%d partitions end where a batch ends, want %d and some", seen, len(begins))
	}
	last := s.stored[len(s.stored)-1]
	s.same("the last of all", s.client.read(s.topic, last.offset, 100), s.stored[len(s.stored)-1:])
}

// firstKept waits until retention is done and returns the index of the first
// batch that is kept.
func (s *scene) firstKept() int {
	s.Helper()
	var oldest int64
	eventually(s, "three partitions are left", func() bool {
		info := fields(s.client.ask("INFO %s", s.topic))
		oldest, _ = decimal(info["Oldest"])
		return info["Partitions"] == "3"
	})
	for i, b := range s.stored {
		if b.offset == oldest {
			return i
		}
	}
	s.Fatalf("Oldest is %d, where no batch begins", oldest)
	return 0
}

// removedPartitions: offsets that are gone are not found, all others read as
// before.
func removedPartitions(s *scene) {
	s.fill(rotated)
	first := s.firstKept()
	if first == 0 {
		s.Fatal("nothing was removed")
	}
	oldest := s.stored[first].offset
	eventually(s, "the files are gone", func() bool {
		s.client.ask("TOPICS")
		return partitions(s, s.dir, s.topic)[0] == oldest
	})
	for _, b := range s.stored[:first] {
		s.client.refused("not found", "READ %s %d 1\r\n", s.topic, b.offset)
		s.client.refused("not found", "READ %s %d 1 wait=60000\r\n", s.topic, b.offset)
	}
	s.verify(first)
	s.client.write("TAIL %s 2\r\nSEEK %s 0\r\n", s.topic, s.topic)
	offset, got, err := s.client.batches()
	s.client.check(err)
	s.same("TAIL", got, s.wantBatches(first, 2, 0))
	sought, _, err := s.client.offset()
	s.client.check(err)
	if offset != oldest || sought != oldest {
		s.Errorf("TAIL names %d and SEEK 0 %d, the oldest is %d", offset, sought, oldest)
	}
}

// wrongOffsets are not found, and never waited for.
func wrongOffsets(s *scene) {
	s.fill(3)
	begins := map[int64]bool{}
	for _, b := range s.stored {
		begins[b.offset] = true
	}
	for offset := range s.next() {
		if !begins[offset] {
			s.client.refused("not found", "READ %s %d 1\r\n", s.topic, offset)
		}
	}
	s.client.refused("not found", "READ %s %d 1\r\n", s.topic, s.next())
	for _, offset := range []int64{1, s.next() - 1, s.next() + 1, 1<<63 - 1} {
		s.client.refused("not found", "READ %s %d 1 wait=60000\r\n", s.topic, offset)
	}
	for _, request := range []string{"READ nothing 0 1 wait=60000", "TAIL nothing 1 wait=60000", "SEEK nothing 0", "TIMES nothing 0 1", "INFO nothing"} {
		s.client.refused("not found", "%s\r\n", request)
	}
	if strings.Contains(s.client.ask("TOPICS"), "nothing") {
		s.Error("asking for a topic has made it")
	}
	s.verify(0)
}

// seekByTime finds, for each time at which a batch was stored, the first one
// of that time.
func seekByTime(s *scene) {
	var times []int64 // of the stored batches
	distinct := func() (n int) {
		for i := range times {
			if i == 0 || times[i] != times[i-1] {
				n++
			}
		}
		return n
	}
	for len(times) < 2000 && distinct() < 6 {
		s.append("tick")
		at, err := time.Parse(time.RFC3339, fields(s.client.ask("INFO %s", s.topic))["NewestTime"])
		s.client.check(err)
		times = append(times, at.UnixMilli())
	}
	if distinct() < 2 {
		s.Fatal("the server's clock does not go on")
	}
	check := func(millis, want int64) {
		s.Helper()
		s.client.write("SEEK %s %d\r\n", s.topic, millis)
		got, n, err := s.client.offset()
		s.client.check(err)
		if got != want || n != 0 {
			s.Errorf("SEEK %d is answered OK %d %d, want OK %d 0", millis, got, n, want)
		}
	}
	for i, at := range times {
		if i > 0 && at == times[i-1] {
			continue
		}
		check(at, s.stored[i].offset)
		if i > 0 {
			check(times[i-1]+1, s.stored[i].offset)
		}
	}
	check(0, 0)
	check(times[len(times)-1]+1, s.next())
	s.restart((*server).stop)
	for i, at := range times {
		if i == 0 || at != times[i-1] {
			check(at, s.stored[i].offset)
		}
	}
}

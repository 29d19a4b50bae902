package clustertest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
)

// TestPacked: compressed batches are the same bytes on every member, and each knows by
// itself in which codecs, also one that was away, and after a restart of all.
func TestPacked(t *testing.T) {
	c := Start(t, 3)
	packed := func(codec string, i int) {
		t.Helper()
		data := fmt.Appendf(nil, "what %s makes of %d", codec, i)
		h := batch.Header{Size: int64(len(data)), Topic: []byte("t"), CRC: batch.Checksum(data), Messages: 7, Codec: codec}
		c.append("t", append(batch.AppendHeader(nil, &h), data...), h.Extent())
	}
	check := func(what string) {
		t.Helper()
		end := c.Leader("t").Log("t").Next()
		var first []byte
		for i, m := range c.Members {
			got := m.Stored("t", end)
			if i == 0 {
				first = bytes.Clone(got)
			}
			if !bytes.Equal(got, first) {
				t.Errorf("%s: member %d has other bytes than member %d", what, m.ID, c.Members[0].ID)
			}
			l := m.Log("t")
			in, err := l.Info(t.Context())
			if err != nil || in.Codecs != batch.S2|batch.Zstd {
				t.Errorf("%s: member %d: %+v, %v", what, m.ID, in, err)
			}
			v, err := l.Read(0, 1e6, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := topic.Accept(v, batch.S2); err != nil || v.Batches() != 3 {
				t.Errorf("%s: member %d: who knows s2 gets %d batches, %v", what, m.ID, v.Batches(), err)
			}
			v.Close()
		}
	}
	c.Append("t", "plain")
	packed("s2", 1)
	packed("s2", 2)
	packed("zstd", 3)
	check("after the first ones")

	lead := c.Leader("t")
	away := c.Members[0]
	if away == lead {
		away = c.Members[1]
	}
	away.Stop()
	for i := range 20 {
		packed([]string{"zstd", "s2"}[i%2], i)
		c.Append("t", "plain")
	}
	away.Start()
	check("after one was away")

	for _, m := range c.Members {
		m.Stop()
	}
	for _, m := range c.Members {
		m.Start()
	}
	testkit.Eventually(t, func() string { return testkit.Unless(c.Leader("t") != nil, "nobody leads") })
	check("after a restart of all")
}

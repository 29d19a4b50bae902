package node

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// BenchmarkCatchUp has an empty member join, without a limit of its rate, until it has
// all of a topic. cp is how often as fast its files are copied, into the page cache.
func BenchmarkCatchUp(b *testing.B) {
	const size = 256 << 20
	c := beginCluster(b, b.TempDir(), func(g *config.Config) { g.CatchUpRate = 0 })
	c.write("t", "first")
	nc, in := dial(b, c.nodes["a"])
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	batch := []byte(testkit.Batch("t", strings.Repeat("x", 64_000)))
	const pipelined = 16
	request := bytes.Repeat(batch, pipelined)
	for range size / len(request) {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		for range pipelined {
			if line, err := in.ReadSlice('\n'); err != nil || line[0] != 'O' {
				b.Fatalf("%q, %v", line, err)
			}
		}
	}
	began := time.Now()
	copyFiles(b, filepath.Join(c.configs["a"].WorkDir, "t"), b.TempDir())
	copied := time.Since(began)
	b.SetBytes(size)
	for b.Loop() {
		c.joinAs("b")
		caughtUp := func(body string) bool {
			for line := range strings.Lines(body) {
				if strings.Contains(line, " name=b ") {
					return strings.Contains(line, " role=learner state=up ") && strings.Contains(line, " lag-bytes=0 ")
				}
			}
			return false
		}
		c.wait("a", "CLUSTER", caughtUp)
		b.StopTimer()
		c.do("LEAVE b")
		c.removed("b")
		b.StartTimer()
	}
	b.ReportMetric(copied.Seconds()/(b.Elapsed().Seconds()/float64(b.N)), "cp")
}

// copyFiles copies the files of a folder.
func copyFiles(b *testing.B, from, to string) {
	b.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			b.Fatal(err)
		}
	}
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 256<<10))
	return err
}

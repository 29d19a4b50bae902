package files

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/testkit"
)

// With events, what happens is seen long before the next scan is due.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	s := newSink(t)
	m, err := New(Options{Sink: s}, []Config{{Name: "in", Glob: dir + "/**/*.log*", Lines: lines.Settings{Max: 100}, ScanInterval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-m.Ready()
	w := &world{t: t, dir: dir, sink: s}
	want := ""
	check := func() {
		t.Helper()
		testkit.Eventually(t, func() string {
			if err := w.differs(want); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	next := func(name string, n int) {
		w.write(name, text("x", n, n+1))
		want += text("x", n, n+1)
		check()
	}
	begun := time.Now()
	for i := range 5 {
		next("a.log", 10*i)
		next("a.log", 10*i+1)
		w.rename("a.log", fmt.Sprintf("a.log.%d", i))
	}
	for i := range 3 {
		w.must(os.MkdirAll(w.path(fmt.Sprintf("d%d/e", i)), 0o700))
		next(fmt.Sprintf("d%d/e/b.log", i), 1000+i)
		w.must(os.RemoveAll(w.path(fmt.Sprintf("d%d", i))))
	}
	t.Logf("%v", time.Since(begun))
}

// BenchmarkIdle is one scan of 10,000 files that do not change, with events and without.
func BenchmarkIdle(b *testing.B) {
	for _, events := range []bool{true, false} {
		b.Run(fmt.Sprint("events=", events), func(b *testing.B) { benchmarkIdle(b, events) })
	}
}

func benchmarkIdle(b *testing.B, events bool) {
	dir := b.TempDir()
	for i := range 10_000 {
		os.WriteFile(fmt.Sprintf("%s/%05d.log", dir, i), []byte("line\n"), 0o600)
	}
	m, err := New(Options{Sink: newSink(b)}, []Config{{Name: "in", Glob: dir + "/*.log", Lines: lines.Settings{Max: 100}}})
	if err != nil {
		b.Fatal(err)
	}
	if events {
		m.rest = 0
		m.watch = newWatcher(m)
		go m.watch.run()
		defer m.watch.close()
	}
	in := m.inputs["in"]
	in.load()
	in.scan()
	for in.turn() {
	}
	in.scan()
	b.ReportAllocs()
	for b.Loop() {
		in.scan()
		if in.turn() {
			b.Fatal("there is something to read")
		}
	}
}

// BenchmarkRead reads a file of 64 MiB with lines of 200 bytes.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	f, err := os.Create(dir + "/a.log")
	if err != nil {
		b.Fatal(err)
	}
	const size = 64 << 20
	line := fmt.Sprintf("%199d\n", 1)
	for n := 0; n < size; n += len(line) {
		f.WriteString(line)
	}
	f.Close()
	b.SetBytes(size)
	for b.Loop() {
		m, err := New(Options{Sink: &devNull{}, NoEvents: true, Once: true}, []Config{{Name: "in", Glob: dir + "/*.log", Lines: lines.Settings{Max: 64 << 10}}})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

package forward

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/logdtest"
)

// BenchmarkFile delivers a file of lines of 200 bytes, beside what a Writer needs for them.
func BenchmarkFile(b *testing.B) {
	for _, format := range []string{"raw", "json"} {
		b.Run(format, func(b *testing.B) {
			s := logdtest.Start(b)
			dir := b.TempDir()
			line := append(bytes.Repeat([]byte("x"), 199), '\n')
			const lines = 64 << 20 / 200
			path := filepath.Join(dir, "in.log")
			if err := os.WriteFile(path, bytes.Repeat(line, lines), 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(lines * 200)
			for i := 0; b.Loop(); i++ {
				c, err := settings.Load(settings.Sources{
					Env: []string{"HOME=" + dir}, Hostname: "here", Once: true, Inputs: []string{"file:" + path},
					Flags: map[string][]string{
						"host": {strings.TrimPrefix(s.Addr(), "tcp:")}, "topic": {fmt.Sprint("t", i)}, "format": {format},
						"state-dir": {filepath.Join(dir, fmt.Sprint("state", i))}, "http-host": {""},
					},
				})
				if err != nil {
					b.Fatal(err)
				}
				a, err := New(Options{Settings: c, Logger: slog.New(slog.DiscardHandler), Once: true})
				if err != nil {
					b.Fatal(err)
				}
				if err := a.Run(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

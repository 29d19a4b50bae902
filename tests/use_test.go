package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUse types what each page of docs/use says, on a server of its own, and compares what
// comes back.
func TestUse(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/use/*.md")
	if err != nil || len(pages) < 7 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			var typed []string
			for line := range strings.Lines(string(text)) {
				if rest, ok := strings.CutPrefix(line, "    "); ok {
					typed = append(typed, strings.TrimSpace(rest))
				}
			}
			s := start(t, filepath.Join(t.TempDir(), "logs"))
			typeLines(t, s, t.TempDir(), typed)
		})
	}
}

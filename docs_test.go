package logd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocsCompile makes sure that every Go block of docs/client.md is part of
// an example or a test, line by line, and so is compiled and run.
func TestDocsCompile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("docs", "client.md"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("example*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names = append(names, filepath.Join("admin", "example_test.go"), filepath.Join("progress", "example_server_test.go"))
	var sources []string
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, outdent(string(source)))
	}
	blocks := goBlocks(string(text))
	if len(blocks) < 5 {
		t.Fatalf("docs/client.md has %d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		if !inAny(sources, block) {
			t.Errorf("no example*_test.go has these lines of docs/client.md:\n%s", block)
		}
	}
	if inAny(sources, "client.Append(nobody, writes, this)") || inAny(sources, blocks[0]+"\nmore") {
		t.Error("this test finds everything")
	}
}

// goBlocks returns the Go blocks of a Markdown text.
func goBlocks(text string) (blocks []string) {
	for i, part := range strings.Split("\n"+text, "\n```") {
		if code, ok := strings.CutPrefix(part, "go\n"); ok && i%2 == 1 {
			blocks = append(blocks, outdent(code))
		}
	}
	return blocks
}

// outdent takes the space off both ends of all lines.
func outdent(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return "\n" + strings.Trim(strings.Join(lines, "\n"), "\n") + "\n"
}

func inAny(sources []string, block string) bool {
	for _, source := range sources {
		if strings.Contains(source, block) {
			return true
		}
	}
	return false
}

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/manpage"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestManual: manual pages and completions have every flag of every command.
func TestManual(t *testing.T) {
	pages := t.TempDir()
	none := func(string) string { return "" }
	if err := manpage.Write(root(&cli.App{Getenv: none}), pages); err != nil {
		t.Fatal(err)
	}
	testkit.Documented(t, root(&cli.App{Getenv: none}), pages, func(args ...string) string {
		var out, errs bytes.Buffer
		a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: none}
		a.Run(t.Context(), root(a), args)
		return out.String()
	})
}

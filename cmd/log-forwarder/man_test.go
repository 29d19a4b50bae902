package main

import (
	"bytes"
	"testing"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/manpage"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestManual: manual pages and completions have every flag of every command.
func TestManual(t *testing.T) {
	pages := t.TempDir()
	if err := manpage.Write((&app{}).root(), pages); err != nil {
		t.Fatal(err)
	}
	testkit.Documented(t, (&app{}).root(), pages, func(args ...string) string {
		var out, errs bytes.Buffer
		(&app{Program: cmdline.Program{Stdout: &out, Stderr: &errs}}).run(args)
		return out.String()
	})
}

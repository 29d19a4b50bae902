package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/internal/exit"
)

// TestDocs: docs/configuration.md has all exit codes and all flags.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	var want []string
	for _, code := range []int{exit.Done, exit.Failed, exit.Usage, exit.Refused, exit.Temporary, exit.Config} {
		want = append(want, fmt.Sprint(code))
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| `).FindAllStringSubmatch(text, -1) {
		got = append(got, m[1])
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("documented exit codes %v, want %v", got, want)
	}

	root := (&app{}).root()
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	known := func(f *pflag.Flag) {
		if !strings.Contains(text, "`--"+f.Name+"`") && !strings.Contains(text, "`--"+f.Name+" ") {
			t.Errorf("--%s is not documented", f.Name)
		}
	}
	root.Flags().VisitAll(known)
	root.PersistentFlags().VisitAll(known)
}

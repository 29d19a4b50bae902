//go:build man

package main

import (
	"os"

	"github.com/logd-dev/logd/internal/manpage"
)

// With this tag the program writes its manual pages to the folder MAN_DIR, and does
// nothing else: see make man.
func init() {
	if err := manpage.Write((&app{}).root(), os.Getenv("MAN_DIR")); err != nil {
		panic(err)
	}
	os.Exit(0)
}

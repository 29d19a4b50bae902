// Package manpage makes manual pages of commands, from the same tables as their help.
package manpage

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Write writes a page for a program and each of its commands to a folder, which it makes
// where it is not there: logd.1, logd-config.1 and so on. Their date is SOURCE_DATE_EPOCH
// where the environment has it.
func Write(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true // which has a date of its own
	root.InitDefaultVersionFlag()
	header := &doc.GenManHeader{Section: "1", Manual: "logd", Source: "logd " + root.Version}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("manual pages of %s: %w", root.Name(), err)
	}
	return nil
}

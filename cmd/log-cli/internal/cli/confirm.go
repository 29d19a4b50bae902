package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/exit"
)

// Consent is what somebody has said, or is to be asked, before a command changes what
// can't be had back.
type Consent struct {
	Yes    bool // do not ask
	DryRun bool // only show it
}

// ConsentFlags gives a command the flags --yes and --dry-run, of which the latter has
// that meaning.
func ConsentFlags(cmd *cobra.Command, c *Consent, dryRun string) {
	cmd.Flags().BoolVar(&c.DryRun, "dry-run", false, dryRun)
	YesFlag(cmd, c)
}

// YesFlag gives a command the flag --yes alone.
func YesFlag(cmd *cobra.Command, c *Consent) {
	cmd.Flags().BoolVarP(&c.Yes, "yes", "y", false, "do not ask")
}

// Possible returns an error if nobody can be asked and nobody has said yes. would is what
// a dry run shows, empty if the command has none.
func (c *Consent) Possible(a *App, would string) error {
	if c.Yes || c.DryRun || IsTerminal(a.Stdin) && IsTerminal(a.Stderr) {
		return nil
	}
	other := ""
	if would != "" {
		other = " (or --dry-run, to see what would " + would + ")"
	}
	return errors.New("without a terminal to ask on, want --yes" + other)
}

// Ask asks whether it shall be done, unless that was said, and returns an error that
// says what is the case if it shall not.
func (c *Consent) Ask(a *App, question, otherwise string) error {
	if c.Yes {
		return nil
	}
	fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		fmt.Fprintln(a.Stderr)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return exit.With(exit.Failed, errors.New(otherwise))
}

package places

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/place"
)

// Flag is a place as a flag. Its zone is the one of this machine.
type Flag struct {
	place.Place
	text string
}

// Set parses the place.
func (f *Flag) Set(text string) error {
	p, err := place.Parse(text, time.Now())
	if err != nil {
		return err
	}
	f.Place, f.text = p, text
	return nil
}

func (f *Flag) String() string { return f.text }

// Type is asked for by pflag.
func (f *Flag) Type() string { return "PLACE" }

// IsSet reports whether the flag was given.
func (f *Flag) IsSet() bool { return f.Kind != place.None }

// Complete offers the places that have names.
func Complete(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"start", "end", "today", "yesterday"}, cobra.ShellCompDirectiveNoFileComp
}

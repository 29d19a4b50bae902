package cli

import (
	"errors"
	"time"
)

// Retry is the value of --retry: how long to wait for a server that goes away.
type Retry struct {
	d   time.Duration // less than 0 is for ever
	set bool
}

// Or returns how long to wait for a server that goes away: for ever if nothing
// was said and endless is true, and not at all if it is not.
func (r Retry) Or(endless bool) time.Duration {
	switch {
	case r.set:
		return r.d
	case endless:
		return -1
	}
	return 0
}

const forever = "forever"

func (r *Retry) String() string {
	switch {
	case !r.set:
		return ""
	case r.d < 0:
		return forever
	}
	return r.d.String()
}

// Set parses a time.
func (r *Retry) Set(text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case text == forever:
		d = -1
	case err != nil || d < 0:
		return errors.New("want a time such as 30s, or forever")
	}
	*r = Retry{d, true}
	return nil
}

// Type is asked for by pflag.
func (r *Retry) Type() string { return "TIME" }

// OrTime returns how long to wait for a server that goes away: so long if nothing was said.
func (r Retry) OrTime(d time.Duration) time.Duration {
	if r.set {
		return r.d
	}
	return d
}

package cli

import (
	"errors"
	"strconv"
)

// Number is a flag's value in decimal digits. A flag of pflag's own takes
// those of 010 for octal.
type Number int64

// Set parses a number.
func (n *Number) Set(text string) error {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return errors.New("want a whole number")
	}
	*n = Number(v)
	return nil
}

func (n *Number) String() string { return strconv.FormatInt(int64(*n), 10) }

// Type names the value in the help where its text does not.
func (n *Number) Type() string { return "int" }

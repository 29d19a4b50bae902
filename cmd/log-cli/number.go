package main

import (
	"errors"
	"strconv"
	"strings"
)

// number is a flag's value in decimal digits. A flag of pflag's own takes
// those of 010 for octal.
type number int64

// Set parses a number.
func (n *number) Set(text string) error {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return errors.New("want a whole number")
	}
	*n = number(v)
	return nil
}

func (n *number) String() string { return strconv.FormatInt(int64(*n), 10) }

// Type names the value in the help where its text does not.
func (n *number) Type() string { return "int" }

// digits parses a number that is nothing but decimal digits.
func digits(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

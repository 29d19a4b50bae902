package logd

import (
	"errors"
	"fmt"
	"strings"
)

// kindOf returns what errors of the same failure have in common: their type and
// text, apart from numbers, which may be those of a port.
func kindOf(err error) string {
	var kind string
	switch e := err.(type) {
	case *BatchError:
		kind = fmt.Sprint("batch ", e.Kept, outcomeOf(e.Err), e.Err, e.Backlog)
	case *DropError:
		return "drop"
	default:
		kind = err.Error()
	}
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, kind)
}

// addUp returns one error for two of the same kind, of which the first may be
// nil.
func addUp(held, err error) error {
	switch e := err.(type) {
	case *BatchError:
		if was, ok := errors.AsType[*BatchError](held); ok {
			sum := *e // the callbacks have e
			sum.Messages += was.Messages
			sum.Batches += was.Batches
			return &sum
		}
	case *DropError:
		if was, ok := errors.AsType[*DropError](held); ok {
			return &DropError{Topic: e.Topic, Messages: e.Messages + was.Messages}
		}
	}
	return err
}

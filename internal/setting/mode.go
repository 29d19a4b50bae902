package setting

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Modes are modes of files, in octal digits. Without the bits that are needed, without
// says what is wrong.
func Modes(needed fs.FileMode, without, allowed string) Values[fs.FileMode] {
	return Values[fs.FileMode]{
		Parse: func(text string) (fs.FileMode, error) {
			digits := strings.TrimPrefix(text, "0o")
			// Four digits, of which the first is 0, are as many as chmod(1) takes.
			n, err := strconv.ParseUint(digits, 8, 32)
			if err != nil || len(digits) > 4 {
				return 0, errors.New("not an octal mode")
			}
			return fs.FileMode(n), nil
		},
		Format: func(m fs.FileMode) string { return fmt.Sprintf("%04o", uint32(m)) },
		Check: func(m fs.FileMode) error {
			switch {
			case m&^fs.ModePerm != 0:
				return errors.New("more than permission bits")
			case m&needed != needed:
				return errors.New(without)
			}
			return nil
		},
		Allowed: allowed,
	}
}

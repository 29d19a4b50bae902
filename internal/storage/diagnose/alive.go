package diagnose

import (
	"errors"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/scan"
)

// errFound ends a scan.
var errFound = errors.New("found")

// Alive reports whether a partition that begins after the synced mark is to
// stay: there is a valid batch anywhere in it, or one of another topic at its
// beginning.
func Alive(s *scan.Scanner) (bool, error) {
	_, err := s.Scan(0, func(int64, *batch.Header, int64, bool) error { return errFound })
	if err == errFound {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return s.ForeignAt(0)
}

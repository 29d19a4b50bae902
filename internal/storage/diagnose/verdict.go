// Package diagnose decides what is on disk: what a folder holds, what becomes of
// the end of a log, and whether a partition is to stay. Recovery acts on these
// verdicts, and those who check and repair a work directory that no server has
// open print and apply the same ones: whoever cut off more than recovery does
// would have offsets given out again that recovery would not.
package diagnose

import (
	"errors"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/scan"
)

// Torn reports whether the invalid bytes from tail on, at the end of the newest
// partition, are a torn tail: they begin at or after synced, and no batch of
// another topic stands there. Such a batch was never an append to this topic:
// it is kept, as is all that was not torn. Bytes that are not torn are damage.
func Torn(s *scan.Scanner, tail, synced int64) (bool, error) {
	if tail < synced {
		return false, nil
	}
	foreign, err := s.ForeignAt(tail)
	return !foreign, err
}

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

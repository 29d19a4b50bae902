package commitlog

import "github.com/logd-dev/logd/internal/topic"

// Verify is Read of batches that are checked first, envelope and data. What is
// damaged is set aside, each batch by itself: Verify returns those before it,
// and ErrNotFound at it, as every Read does from then on.
//
// It reads all that it returns, and holds a lock that writers take only if
// damage is found in the newest partition.
func (l *Log) Verify(offset, messages, maxBytes int64) (topic.View, error) {
	for last, again := int64(-1), 0; ; {
		v, err := l.view(offset, messages, maxBytes)
		if err != nil {
			return nil, err
		}
		bad, err := l.parts.FirstBad(v)
		if err == nil && bad < 0 {
			return v, nil
		}
		v.Close()
		if again++; bad != last {
			last, again = bad, 0
		}
		if err == nil {
			err = l.parts.Examine(bad, again)
		}
		if err != nil {
			return nil, err
		}
	}
}

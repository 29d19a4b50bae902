package copies

import (
	"errors"
	"testing"

	"github.com/logd-dev/logd/internal/testkit"
)

// TestCheck: batches that come without a round, and so without its checksum, are of the
// topic, with the data that their envelopes say.
func TestCheck(t *testing.T) {
	good := testkit.Batch("t", "a", "b") + testkit.Batch("t", "some more")
	body, err := Parse([]byte(good))
	if err == nil {
		err = body.Check("t")
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := []byte(good)
		bad[i] ^= 4
		body, err := Parse(bad)
		if err == nil {
			err = body.Check("t")
		}
		if !errors.Is(err, ErrBytes) {
			t.Errorf("byte %d is flipped: %v", i, err)
		}
	}
}

package intake

import (
	"bytes"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/sequence"
)

// half is a codec that halves what it is given.
type half struct{}

func (half) Name() string                  { return "half" }
func (half) Encode(dst, src []byte) []byte { return append(dst, src[:len(src)/2]...) }

// TestEncodeInDoubt: a batch that may be stored under a number keeps its bytes, whatever
// the server takes by then; one that is known not to be stored, or gets another number,
// has the form that the server takes.
func TestEncodeInDoubt(t *testing.T) {
	number := sequence.Number{PID: "00000000000000000000000000000001", Seq: 5}
	for name, test := range map[string]struct {
		num   sequence.Batch
		again sequence.Number
		keeps bool
	}{
		"in doubt":                   {sequence.Batch{Number: number, Doubt: true}, number, true},
		"not stored":                 {sequence.Batch{Number: number}, number, false},
		"another number":             {sequence.Batch{Number: number, Doubt: true}, sequence.Number{PID: number.PID, Seq: 6}, false},
		"of a run before, not sent":  {sequence.Batch{Number: number, Doubt: true, Assumed: true}, number, false},
		"without a number, and sent": {sequence.Batch{Doubt: true}, sequence.Number{}, false},
	} {
		s := new(Slot[int])
		s.batch.Add([]byte(strings.Repeat("x", 1000)))
		first := number
		if test.num.Number.Seq == 0 {
			first = test.again
		}
		s.Encode("t", first, half{})
		sent := bytes.Clone(s.Raw)
		if !bytes.Contains(sent, []byte("codec=half")) {
			t.Fatalf("%.60q", sent)
		}
		s.Num = test.num
		if s.Encode("t", test.again, nil); bytes.Equal(s.Raw, sent) != test.keeps || bytes.Contains(s.Raw, []byte("codec=")) != test.keeps {
			t.Errorf("%s: %.60q", name, s.Raw)
		}
	}
}

package logd

import (
	"encoding/json"
	"math"
	"testing"
)

func TestIDText(t *testing.T) {
	for id, want := range map[ID]string{
		{}:                             "0.0",
		{70, 11}:                       "70.11",
		{math.MaxInt64, math.MaxInt64}: "9223372036854775807.9223372036854775807",
	} {
		var back ID
		text, err := id.MarshalText()
		if err != nil || string(text) != want || id.String() != want || back.UnmarshalText(text) != nil || back != id {
			t.Errorf("%v is %q, %v, and %v again", id, text, err, back)
		}
	}
	for _, text := range []string{"", "1", "1.", ".1", "1.2.3", "01.2", "-1.2", "1.2 ", "9223372036854775808.0"} {
		id := ID{7, 8}
		if err := id.UnmarshalText([]byte(text)); err == nil || id != (ID{7, 8}) {
			t.Errorf("%q is %v, %v", text, id, err)
		}
	}
	if text, err := json.Marshal(map[ID]ID{{1, 2}: {3, 4}}); string(text) != `{"1.2":"3.4"}` {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

func TestIDCompare(t *testing.T) {
	ids := []ID{{0, 0}, {0, 9}, {50, 0}, {50, 3}, {60, 0}, {math.MaxInt64, 0}}
	for i, a := range ids {
		for j, b := range ids {
			want := 0
			if i != j {
				want = 1
				if i < j {
					want = -1
				}
			}
			if got := a.Compare(b); got != want {
				t.Errorf("%v to %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

package write

import "testing"

func TestAccount(t *testing.T) {
	var a account
	if got, want := a.report("line"), "no line is stored"; got != want {
		t.Errorf("report = %q, want %q", got, want)
	}
	a.add(1, 3, stored)
	a.add(4, 4, stored)
	a.add(5, 5, unknown)
	a.add(7, 7, stored)
	want := "lines 1 to 4 are stored; line 5 may be stored or not; line 7 is stored; no other line is stored"
	if got := a.report("line"); got != want {
		t.Errorf("report = %q, want %q", got, want)
	}
}

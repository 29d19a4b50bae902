package version

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, test := range []struct{ release, module, want string }{
		{"", "", next},
		{"", "(devel)", next},
		{"", "v0.0.0-20260102030405-0123456789ab", next},
		{"", "v1.2.3", "1.2.3"},
		{"1.3.0", "v1.2.3", "1.3.0"},
	} {
		if got := choose(test.release, test.module); got != test.want {
			t.Errorf("choose(%q, %q) = %q, want %q", test.release, test.module, got, test.want)
		}
	}
}

func TestLine(t *testing.T) {
	line := Line("logd")
	if !strings.HasPrefix(line, "logd "+String()+" (go") || !strings.HasSuffix(line, ", "+Platform()+")\n") {
		t.Errorf("Line is %q", line)
	}
}

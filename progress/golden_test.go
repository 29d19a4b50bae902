package progress

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files of this version's formats, those that are not there")

func TestGolden(t *testing.T) {
	for kind, want := range map[string]logd.Position{
		"offset": logd.AtOffset(1 << 40), "message": logd.At(logd.ID{Offset: 70, Delta: 11}), "after": logd.After(logd.ID{Offset: 70, Delta: 11}),
		"oldest": logd.AtOldest(), "next": logd.AtNext(), "time": logd.AtTime(time.Date(2026, 1, 2, 15, 4, 5, 6, time.UTC)),
	} {
		for version, topic := range map[int]string{1: "", 2: "0123456789abcdef0123456789abcdef"} {
			path := testkit.Golden(t, fmt.Sprintf("state%d-%s", version, kind), *update, func(name string) {
				if err := os.WriteFile(name, encode(want, topic), 0o644); err != nil {
					t.Fatal(err)
				}
			})
			s, err := OpenFile(FileConfig{Path: path})
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				continue
			}
			if got := s.Peek(); got != want || s.TopicID() != topic {
				t.Errorf("%s: position %v of topic %q, want %v of %q", kind, got, s.TopicID(), want, topic)
			}
		}
	}
}

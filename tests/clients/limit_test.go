package clients

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
)

// TestTopicLimit has clients write more than fits into a batch of a topic that takes
// small ones, and of one that takes less and less while they write: each message is
// stored once and in order, where the writer was told.
func TestTopicLimit(t *testing.T) {
	const length = 500 // of a message
	for _, test := range []struct {
		name   string
		flags  []string
		before int64 // batch-size
		during []int64
	}{
		{"set before", nil, 4096, nil},
		{"set while they write", nil, 65536, []int64{16384, 4096, 1024}},
		{"set while they write, without numbers", []string{"--producers", "0"}, 65536, []int64{4096, 1024}},
	} {
		t.Run(test.name, func(t *testing.T) {
			each(t, func(t *testing.T, l language) {
				t.Parallel()
				s := serve(t, test.flags...)
				c, err := logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				set := func(size int64) {
					t.Helper()
					out, err := exec.Command(filepath.Join(built, "log-cli"), "set", "t", "batch-size", fmt.Sprint(size), "--yes", "--host", s.addr).CombinedOutput()
					if err != nil {
						t.Fatalf("set batch-size %d: %v\n%s", size, err, out)
					}
				}
				awaitMore := func() {
					t.Helper()
					before, _ := c.Info(t.Context(), "t")
					await(t, "more is written", func() bool {
						info, err := c.Info(t.Context(), "t")
						return err == nil && info.Bytes > before.Bytes+100*length
					})
				}
				set(test.before)
				writer := l.start(t, "write", options{"addrs": []string{s.addr}}, "t", length)
				awaitMore()
				for _, size := range test.during {
					set(size)
					awaitMore()
				}
				told := words(writer.end(true))
				stored := stored(t, []string{s.addr}, "t")
				if len(stored) != len(told) || len(told) < 100 {
					t.Fatalf("%d messages written, %d stored", len(told), len(stored))
				}
				var largest, begin int64 // batch
				for i, m := range stored {
					n := strconv.Itoa(i)
					if strings.TrimRight(m[1], " ") != n || told[i] != [2]string{n, m[0]} {
						t.Fatalf("message %d is stored as %v, and the writer was told %v", i, m, told[i])
					}
					if offset := idOf(t, m[0]).Offset; offset > begin {
						largest, begin = max(largest, offset-begin), offset
					}
				}
				if largest <= test.before/2 || largest > test.before {
					t.Errorf("the largest batch has %d bytes, of %d that it may have", largest, test.before)
				}
			})
		})
	}
}

func idOf(t *testing.T, text string) (id logd.ID) {
	t.Helper()
	if err := id.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return id
}

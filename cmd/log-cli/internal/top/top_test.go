package top

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/admin"
)

func TestParseKeys(t *testing.T) {
	for typed, want := range map[string][]key{
		"q": {keyQuit}, "\x03": {keyQuit}, "s": {keySort}, "ss": {keySort, keySort}, "\x1b[A\x1b[B": {keyUp, keyDown},
		"\x1bOA": {keyUp}, "\x1b[5~\x1b[6~": {keyPageUp, keyPageDown}, "x": {keyOther}, "": nil, "jk": {keyDown, keyUp},
	} {
		if got := parseKeys([]byte(typed)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", typed, got, want)
		}
	}
}

// example is two samples, ten seconds apart.
func example() *view {
	at := time.Date(2026, 11, 28, 19, 0, 0, 0, time.Local)
	info := func(oldest, next, messages int64, id, state string) *admin.TopicInfo {
		return &admin.TopicInfo{Oldest: oldest, Next: next, Bytes: next - oldest, Messages: messages, ID: id, State: state}
	}
	return &view{
		host: "127.0.0.1:1774", interval: 10 * time.Second, order: "rate",
		last: &sample{
			time:  at,
			stats: map[string]int64{"requests.total": 100, "errors.total": 5, "bytes.in": 1000, "bytes.out": 5000, "conns.active": 1},
			topics: map[string]*admin.TopicInfo{
				"orders": info(0, 1000, 10, "0a", "writable"), "trimmed": info(0, 10000, 100, "0b", "writable"),
				"again": info(0, 5000, 7, "0c", "writable"), "gone": info(0, 1, 1, "0d", "writable"), "quiet": info(0, 50, 1, "0e", "writable"),
			},
		},
		now: &sample{
			time:  at.Add(10 * time.Second),
			stats: map[string]int64{"requests.total": 1100, "errors.total": 5, "bytes.in": 31000, "bytes.out": 5000, "conns.active": 3, "reads.waiting": 2},
			topics: map[string]*admin.TopicInfo{
				"orders": info(0, 3000, 30, "0a", "writable"), "trimmed": info(5000, 20000, 150, "0b", "read only: disk\x1b[31m full"),
				"again": info(0, 100, 2, "1c", "writable"), "quiet": info(0, 50, 1, "0e", "writable"), "new": info(0, 600, 6, "0f", ""),
			},
			lags:    map[string]int64{"orders": 2000},
			members: []admin.Member{{Name: "a", Role: "voter", State: "up", Leads: 8, Free: 210e9, Version: "1.2"}, {Name: "b", Role: "voter", State: "down", LagBytes: 12e6}},
		},
	}
}

func TestFrame(t *testing.T) {
	v := example()
	const want = `log-cli top  127.0.0.1:1774  19:00:10  every 10s  by rate
3 connections  100 requests/s  0 errors/s  in 3.0 kB  out 0 B  2 reads wait

MEMBER           ROLE     STATE    LEADS     BEHIND       FREE  VERSION
a                voter    up           8          -   210.0 GB  1.2
b                voter    down         0    12.0 MB        0 B

TOPIC                   MSG/S  WRITTEN/S      SIZE     MESSAGES       LAG  STATE
trimmed                    10     1.0 kB   15.0 kB          150       0 B  read…
orders                    2.0      200 B    3.0 kB           30    2.0 kB  ok
new                       0.6       60 B     600 B            6       0 B  ok
again                     0.2       10 B     100 B            2       0 B  ok
quiet                       0        0 B      50 B            1       0 B  ok`
	if got := strings.Join(v.frame().lines(80), "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for i, l := range v.frame().lines(80) {
		if len([]rune(l)) > 80 {
			t.Errorf("line %d has %d columns", i, len([]rune(l)))
		}
	}
	// What a server says is not obeyed.
	if got := strings.Join(v.frame().lines(0), "\n"); strings.Contains(got, "\x1b") || !strings.Contains(got, "read only: disk?[31m full") {
		t.Errorf("%q", got)
	}
	for order, want := range map[string]string{
		"name": "again new orders quiet trimmed", "size": "trimmed orders new again quiet", "lag": "orders again new quiet trimmed",
	} {
		v.order = order
		var got []string
		for _, r := range v.frame().topics {
			got = append(got, r.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %s: %v, want %s", order, got, want)
		}
	}
	v.count, v.skip, v.now.lags, v.now.members = 2, 1, nil, nil
	v.order = "name"
	got := strings.Join(v.frame().lines(80), "\n")
	if !strings.HasSuffix(got, "topics 2 to 3 of 5") || strings.Contains(got, "LAG") || strings.Contains(got, "MEMBER") {
		t.Errorf("%s", got)
	}
	// The first frame knows no rates, nor does one after a restart.
	v.last = nil
	if got := strings.Join(v.frame().lines(80), "\n"); !strings.Contains(got, " -          -     600 B") || !strings.Contains(got, "  - requests/s") {
		t.Errorf("%s", got)
	}
	v.away = errors.New("connection refused")
	if got := v.frame().lines(80)[1]; got != "connection refused; trying on" {
		t.Error(got)
	}
	if got := (&view{}).frame().lines(80); len(got) == 0 {
		t.Error("nothing is shown before the first sample")
	}
}

func TestFrameJSON(t *testing.T) {
	v := example()
	text, err := json.Marshal(v.frame().json())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"interval_ms":10000,"server":{"connections":3,"reads_waiting":2,"requests_per_second":100,"errors_per_second":0,"in_bytes_per_second":3000,"out_bytes_per_second":0,"topics":5}`,
		`{"topic":"orders","messages_per_second":2,"bytes_per_second":200,"bytes":3000,"messages":30,"lag_bytes":2000,"state":"writable"}`,
		`{"name":"a","role":"voter","state":"up","leads":8,"behind_bytes":0,"free_bytes":210000000000,"version":"1.2"}`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s\nlacks %s", text, part)
		}
	}
	v.last = nil
	text, _ = json.Marshal(v.frame().json())
	if !strings.Contains(string(text), `"messages_per_second":null`) {
		t.Errorf("%s", text)
	}
}

func TestPress(t *testing.T) {
	v := example()
	var seen []string
	for range 5 {
		v.press(keySort, 10)
		seen = append(seen, v.order)
	}
	if want := []string{"size", "lag", "name", "rate", "size"}; !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
	for _, test := range []struct {
		key  key
		want int
	}{{keyUp, 0}, {keyDown, 1}, {keyDown, 2}, {keyPageDown, 4}, {keyDown, 4}, {keyUp, 3}, {keyPageUp, 0}} {
		if v.press(test.key, 10); v.skip != test.want {
			t.Errorf("after key %d: %d, want %d", test.key, v.skip, test.want)
		}
	}
	v.skip = 2
	if v.press(keySort, 10); v.skip != 0 {
		t.Error("sorting does not show the first")
	}
	if rows := fmt.Sprint(len(v.frame().topics)); rows != "5" {
		t.Error(rows)
	}
}

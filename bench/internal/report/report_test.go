package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   Summary
	}{
		{[]float64{5}, Summary{5, 5, 5, 1}},
		{[]float64{3, 1}, Summary{2, 1, 3, 2}},
		{[]float64{9, 1, 4}, Summary{4, 1, 9, 3}},
		{[]float64{8, 2, 4, 6}, Summary{5, 2, 8, 4}},
	} {
		if got := Summarize(tt.values); got != tt.want {
			t.Errorf("Summarize(%v) = %+v, want %+v", tt.values, got, tt.want)
		}
	}
	values := []float64{3, 1, 2}
	if Summarize(values); values[0] != 3 {
		t.Error("Summarize changes what it is given")
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want string
	}{
		{0, "0"}, {1, "1"}, {1.5, "1.5"}, {12.34, "12.3"}, {99.96, "100"}, {123.4, "123"}, {999.6, "1,000"},
		{1234567, "1,230,000"}, {1000, "1,000"}, {0.12345, "0.123"}, {0.001, "0.001"}, {-4321, "-4,320"},
		{100, "100"}, {0.0000001, "0"},
	} {
		if got := number(tt.v); got != tt.want {
			t.Errorf("number(%v) = %q, want %q", tt.v, got, tt.want)
		}
	}
}

func TestSummaryString(t *testing.T) {
	for _, tt := range []struct {
		s    Summary
		want string
	}{
		{Summary{2, 1, 3, 3}, "2 (1–3)"},
		{Summary{2, 2, 2, 1}, "2"},
		{Summary{2, 2.0001, 1.9999, 2}, "2"}, // a spread that can't be seen
	} {
		if got := tt.s.String(); got != tt.want {
			t.Errorf("%+v is %q, want %q", tt.s, got, tt.want)
		}
	}
}

// run is a report of two works, three systems, and some of what can be missing.
func run() *Report {
	sample := func(work, name, system, durability string, round int, values Values) Sample {
		return Sample{Work: work, Case: name, System: system, Durability: durability, Round: round, Values: values}
	}
	return &Report{
		Began: time.Date(2026, 11, 23, 3, 4, 5, 0, time.UTC), Took: 61 * time.Second,
		Command: "bench -short", Rounds: 2,
		Machine: []Fact{{"cores", "2"}},
		Systems: []System{{Name: "one", Version: "1.0"}, {Name: "two", Version: "2.0"}, {Name: "three", Missing: "not installed: x|y\nmore"}},
		Works: []Work{
			{Name: "W1", Title: "writes & more", What: "Writes.", Chart: Messages},
			{Name: "L1", Title: "latency", What: "Waits.", Chart: P99},
			{Name: "S1", Title: "none of it", What: "Starts.", Chart: Start},
		},
		Notes: []string{"A busy machine."},
		Samples: []Sample{
			sample("L1", "far", "two", "", 1, Values{P99: 7}),
			sample("W1", "big <1>", "two", "memory", 1, Values{Messages: 100, CPU: 1}),
			sample("W1", "big <1>", "one", "synced", 1, Values{Messages: 1000, Bytes: 4}),
			sample("W1", "small", "one", "synced", 1, Values{Messages: 5}),
			sample("W1", "big <1>", "one", "synced", 2, Values{Messages: 3000, Bytes: 4}),
			{Work: "W1", Case: "small", System: "two", Round: 1, Missing: "broke | here\nlog", Failed: true},
			{Work: "W1", Case: "huge", System: "two", Round: 1, Missing: "too huge"},
			{Work: "W1", Case: "small", System: "two", Round: 2, Missing: "broke | here\nlog", Failed: true},
		},
	}
}

func TestRows(t *testing.T) {
	var got []string
	rows := run().Rows()
	for _, r := range rows {
		got = append(got, r.Work+" "+r.Case+" "+r.System)
	}
	want := "W1 big <1> one,W1 big <1> two,W1 small one,W1 small two,W1 huge two,L1 far two"
	if strings.Join(got, ",") != want {
		t.Errorf("rows %q\nwant %q", strings.Join(got, ","), want)
	}
	if s := rows[0].Stats[Messages]; s != (Summary{2000, 1000, 3000, 2}) {
		t.Errorf("summary %+v", s)
	}
	if m := rows[3].Missing; len(m) != 1 {
		t.Errorf("missing %q: want each reason once", m)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	r := run()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	md := read(t, dir, "results.md")
	for _, want := range []string{
		"Measured 2026-11-23 03:04 UTC in 1m1s, 2 rounds, by `bench -short`.",
		"**A busy machine.**",
		"- three: left out: not installed: x/y\n",
		"| work | case | figure | one | two |\n| --- | --- | --- | ---: | ---: |\n" +
			"| W1 | big <1> | messages/s | 2,000 (1,000–3,000) | 100 |\n" +
			"| W1 | small | messages/s | 5 | – |\n" +
			"| L1 | far | p99 µs | – | 7 |\n",
		"| case | system | durability | messages/s | MB/s | server CPU s |\n| --- | --- | --- | ---: | ---: | ---: |\n",
		"| big <1> | one | (a) | 2,000 (1,000–3,000) | 4 | – |\n",
		"| big <1> | two | (b) | 100 | – | 1 |\n",
		"- (a) one: synced\n- (b) two: memory\n",
		"- two, small: broke / here\n",
		"![writes & more, messages/s](W1.svg)",
		"| far | two | – | 7 |\n",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("results.md lacks %q", want)
		}
	}
	if strings.Contains(md, "| huge |") {
		t.Error("results.md has a row without a figure")
	}
	if strings.Contains(md, "none of it") {
		t.Error("results.md has a work without samples")
	}
	if t.Failed() {
		t.Log(md)
	}

	var back struct {
		Report
		Rows []Row
	}
	if err := json.Unmarshal([]byte(read(t, dir, "results.json")), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Samples) != len(r.Samples) || len(back.Rows) != 6 || back.Samples[1].Values[CPU] != 1 {
		t.Errorf("results.json has %+v", back)
	}
	if _, err := os.Stat(filepath.Join(dir, "S1.svg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a chart of nothing: %v", err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestChart(t *testing.T) {
	r := run()
	svg := string(chart(r.Works[0], rowsOf(r.Rows(), "W1"), r.Systems))
	elements := make(map[string]int)
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
		}
	}
	// Three bars have figures; of those one has more than one round.
	if elements["rect"] != 3 || elements["line"] != 1 {
		t.Errorf("%v: want 3 bars and 1 line\n%s", elements, svg)
	}
	for _, want := range []string{"big &lt;1&gt;", "writes &amp; more", "more is better", "prefers-color-scheme: dark", `width="313.3"`, `width="15.7"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("the chart lacks %q\n%s", want, svg)
		}
	}
	if chart(Work{Name: "W1", Chart: Disk}, r.Rows(), r.Systems) != nil {
		t.Error("a chart of a metric that nobody has")
	}
}

func TestBetter(t *testing.T) {
	if better(Messages) != "more" || better(P99) != "less" || better(Start) != "less" {
		t.Error("the wrong way round")
	}
}

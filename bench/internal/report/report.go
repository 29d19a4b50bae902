// Package report turns the samples of a run into medians and spreads, and
// writes them as Markdown, as JSON and as charts. It knows no system and no
// work: names, order and units come with the samples.
package report

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Metric is something that is measured.
type Metric string

// The metrics, in the order of a table's columns.
const (
	Messages   Metric = "messages/s"
	Bytes      Metric = "MB/s"
	Topics     Metric = "new topics/s"
	P50        Metric = "p50 µs"
	P99        Metric = "p99 µs"
	P999       Metric = "p99.9 µs"
	WriteP99   Metric = "write p99 µs"
	CatchUp    Metric = "catch-up MB/s"
	Operations Metric = "operations/s"
	Gap50      Metric = "gap p50 ms"
	Gap99      Metric = "gap p99 ms"
	GapMost    Metric = "longest gap ms"
	Gaps       Metric = "gaps"
	Ratio      Metric = "of the first"
	Entries    Metric = "entries/batch"
	Sets       Metric = "saves/batch"
	Idle       Metric = "idle CPU %"
	Memory     Metric = "memory MiB"
	Start      Metric = "start s"
	CPU        Metric = "server CPU s"
	CPUMessage Metric = "server CPU µs/message"
	Peak       Metric = "peak memory MiB"
	Files      Metric = "open files"
	Disk       Metric = "read from disk MiB"
)

var metrics = []Metric{
	Messages, Bytes, Topics, P50, P99, P999, WriteP99, CatchUp, Gap50, Gap99, GapMost, Gaps, Ratio, Entries, Sets, Idle, Memory, Operations, Start, CPU, CPUMessage, Peak, Files, Disk,
}

// Values are what one sample measured.
type Values map[Metric]float64

// String lists the values in the order of a table's columns.
func (v Values) String() string {
	var list []string
	for _, m := range metrics {
		if x, ok := v[m]; ok {
			list = append(list, number(x)+" "+string(m))
		}
	}
	return strings.Join(list, ", ")
}

// Sample is one measurement of one case by one system.
type Sample struct {
	Work       string `json:"work"`
	Case       string `json:"case"`
	System     string `json:"system"`
	Durability string `json:"durability,omitempty"`
	Round      int    `json:"round"`
	Values     Values `json:"values,omitempty"`
	// Missing says why there are no values.
	Missing string `json:"missing,omitempty"`
	// Failed: there should have been values.
	Failed bool `json:"failed,omitempty"`
}

// Work describes what the samples of one name measured.
type Work struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// What says what is done, with the sizes of this run.
	What string `json:"what"`
	// Chart is the metric that is drawn; empty: none.
	Chart Metric `json:"chart,omitempty"`
}

// System is something that was measured.
type System struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Missing says why it was left out.
	Missing string `json:"missing,omitempty"`
}

// Report is a whole run.
type Report struct {
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took_ns"`
	Command string        `json:"command"`
	Rounds  int           `json:"rounds"`
	Machine []Fact        `json:"machine"`
	Systems []System      `json:"systems"`
	Works   []Work        `json:"works"`
	// Notes are what a reader must know before the numbers are believed.
	Notes   []string `json:"notes,omitempty"`
	Samples []Sample `json:"samples"`
}

// Fact is one named property of the machine.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Row is what a table says of one case of one system.
type Row struct {
	Work       string             `json:"work"`
	Case       string             `json:"case"`
	System     string             `json:"system"`
	Durability string             `json:"durability,omitempty"`
	Stats      map[Metric]Summary `json:"stats,omitempty"`
	// Missing are the reasons why rounds have no values.
	Missing []string `json:"missing,omitempty"`
}

// Rows sums the samples up, one row for each case of each system: works in
// the order of r.Works, cases in that of their first sample, systems in that
// of r.Systems.
func (r *Report) Rows() []Row {
	type key struct{ work, name, system, durability string }
	var keys []key
	values := make(map[key]map[Metric][]float64)
	missing := make(map[key][]string)
	cases := make(map[[2]string]int)
	for _, s := range r.Samples {
		k := key{s.Work, s.Case, s.System, s.Durability}
		if values[k] == nil {
			keys = append(keys, k)
			values[k] = make(map[Metric][]float64)
		}
		if c := [2]string{s.Work, s.Case}; cases[c] == 0 {
			cases[c] = len(cases) + 1
		}
		for m, v := range s.Values {
			values[k][m] = append(values[k][m], v)
		}
		if s.Missing != "" && !slices.Contains(missing[k], s.Missing) {
			missing[k] = append(missing[k], s.Missing)
		}
	}
	slices.SortStableFunc(keys, func(a, b key) int {
		return cmp.Or(
			cmp.Compare(r.work(a.work), r.work(b.work)),
			cmp.Compare(cases[[2]string{a.work, a.name}], cases[[2]string{b.work, b.name}]),
			cmp.Compare(r.system(a.system), r.system(b.system)),
		)
	})
	rows := make([]Row, len(keys))
	for i, k := range keys {
		rows[i] = Row{Work: k.work, Case: k.name, System: k.system, Durability: k.durability, Missing: missing[k]}
		if len(values[k]) > 0 {
			rows[i].Stats = make(map[Metric]Summary)
		}
		for m, v := range values[k] {
			rows[i].Stats[m] = Summarize(v)
		}
	}
	return rows
}

func (r *Report) work(name string) int {
	return slices.IndexFunc(r.Works, func(w Work) bool { return w.Name == name })
}

func (r *Report) system(name string) int {
	return slices.IndexFunc(r.Systems, func(s System) bool { return s.Name == name })
}

// columns returns the metrics that any of the rows has, in order.
func columns(rows []Row) []Metric {
	var list []Metric
	for _, m := range metrics {
		has := func(r Row) bool { _, ok := r.Stats[m]; return ok }
		if slices.ContainsFunc(rows, has) {
			list = append(list, m)
		}
	}
	return list
}

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Write writes the report into the folder dir, which is made if need be:
// results.md, results.json, and a chart WORK.svg for each work that has one.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	rows := r.Rows()
	charts := make(map[string]string)
	for _, w := range r.Works {
		svg := chart(w, rowsOf(rows, w.Name), r.Systems)
		if svg == nil {
			continue
		}
		charts[w.Name] = w.Name + ".svg"
		if err := os.WriteFile(filepath.Join(dir, charts[w.Name]), svg, 0o644); err != nil {
			return err
		}
	}
	if err := create(filepath.Join(dir, "results.md"), func(out io.Writer) error {
		return r.markdown(out, rows, charts)
	}); err != nil {
		return err
	}
	return create(filepath.Join(dir, "results.json"), func(out io.Writer) error {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			*Report
			Rows []Row `json:"rows"`
		}{r, rows})
	})
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func rowsOf(rows []Row, work string) []Row {
	var list []Row
	for _, r := range rows {
		if r.Work == work {
			list = append(list, r)
		}
	}
	return list
}

// markdown writes the report as text with tables.
func (r *Report) markdown(out io.Writer, rows []Row, charts map[string]string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s in %v, %d rounds, by `%s`.\n\n",
		r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Second), r.Rounds, r.Command)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "**%s**\n\n", note)
	}
	for _, f := range r.Machine {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	for _, s := range r.Systems {
		switch {
		case s.Missing != "":
			fmt.Fprintf(&b, "- %s: left out: %s\n", s.Name, oneLine(s.Missing))
		case s.Version != "":
			fmt.Fprintf(&b, "- %s: %s\n", s.Name, s.Version)
		}
	}
	b.WriteString("\nA figure is the median of the rounds, with the least and the greatest in parentheses.\n")
	r.summary(&b, rows)
	for _, w := range r.Works {
		of := rowsOf(rows, w.Name)
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s: %s\n\n%s\n\n", w.Name, w.Title, w.What)
		if file := charts[w.Name]; file != "" {
			fmt.Fprintf(&b, "![%s, %s](%s)\n\n", w.Title, w.Chart, file)
		}
		table(&b, of)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// summary writes one table of all works: the metric of each one's chart, the
// systems side by side.
func (r *Report) summary(b *strings.Builder, rows []Row) {
	var systems []string
	for _, s := range r.Systems {
		if slices.ContainsFunc(rows, func(row Row) bool { return row.System == s.Name && r.chartOf(row.Work) != "" }) {
			systems = append(systems, s.Name)
		}
	}
	if len(systems) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Summary\n\n| work | case | figure | %s |\n| --- | --- | --- |%s\n",
		strings.Join(systems, " | "), strings.Repeat(" ---: |", len(systems)))
	type key struct{ work, name string }
	seen := make(map[key]bool)
	for _, first := range rows {
		k := key{first.Work, first.Case}
		m := r.chartOf(k.work)
		if _, ok := first.Stats[m]; !ok || seen[k] {
			continue // no figure, or all of them are written
		}
		seen[k] = true
		fmt.Fprintf(b, "| %s | %s | %s |", k.work, k.name, m)
		for _, name := range systems {
			cell := "–"
			for _, row := range rows {
				if s, ok := row.Stats[m]; ok && row.Work == k.work && row.Case == k.name && row.System == name {
					cell = s.String()
				}
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	b.WriteString("\nThe systems are not equally durable in these figures: the tables below say what each one promises.\n")
}

// chartOf returns the metric that is drawn of a work.
func (r *Report) chartOf(name string) Metric {
	if i := r.work(name); i >= 0 {
		return r.Works[i].Chart
	}
	return ""
}

// table writes the rows, and below them how durable each figure is and what is
// missing. Durability is written once for each system that has it.
func table(b *strings.Builder, rows []Row) {
	cols := columns(rows)
	if len(cols) > 0 {
		b.WriteString("| case | system | durability |")
		for _, m := range cols {
			fmt.Fprintf(b, " %s |", m)
		}
		b.WriteString("\n| --- | --- | --- |" + strings.Repeat(" ---: |", len(cols)) + "\n")
	}
	var footnotes, missing []string
	marks := make(map[string]string)
	for _, r := range rows {
		for _, reason := range r.Missing {
			missing = append(missing, fmt.Sprintf("- %s, %s: %s\n", r.System, r.Case, oneLine(reason)))
		}
		if len(r.Stats) == 0 {
			continue
		}
		mark := "–"
		if r.Durability != "" {
			text := r.System + ": " + r.Durability
			if marks[text] == "" {
				marks[text] = string(rune('a' + len(marks)))
				footnotes = append(footnotes, fmt.Sprintf("- (%s) %s\n", marks[text], text))
			}
			mark = "(" + marks[text] + ")"
		}
		fmt.Fprintf(b, "| %s | %s | %s |", r.Case, r.System, mark)
		for _, m := range cols {
			if s, ok := r.Stats[m]; ok {
				fmt.Fprintf(b, " %v |", s)
			} else {
				b.WriteString(" – |")
			}
		}
		b.WriteString("\n")
	}
	if len(footnotes) > 0 {
		b.WriteString("\nAn acknowledged message is\n\n" + strings.Join(footnotes, ""))
	}
	if len(missing) > 0 {
		b.WriteString("\nNot measured:\n\n" + strings.Join(missing, ""))
	}
}

// oneLine returns the first line of a reason.
func oneLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.ReplaceAll(line, "|", "/")
}

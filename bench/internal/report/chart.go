package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
)

// Geometry of a chart, in pixels.
const (
	chartWidth  = 820
	labelWidth  = 80  // of the systems' names
	valueWidth  = 250 // of the figures behind the bars
	barHeight   = 16
	barPitch    = 22
	headHeight  = 26 // of a case's name
	titleHeight = 34
	margin      = 10
)

// palette has colours that stand out on white and on black alike.
var palette = []string{"#2f81f7", "#d9822b", "#c0504d", "#8064a2", "#4f9d69"}

// chartStyle makes the text readable on light and on dark pages; the chart has
// no background of its own.
const chartStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.case { fill: #57606a }
.spread { stroke: #24292f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .case { fill: #9198a1 }
  .spread { stroke: #e6edf3 }
}
</style>
`

// chart draws the work's metric as horizontal bars, each case on a scale of
// its own, with a line from the least to the greatest round. It returns nil if
// there is nothing to draw.
func chart(w Work, rows []Row, systems []System) []byte {
	var cases []string
	for _, r := range rows {
		if _, ok := r.Stats[w.Chart]; ok && !slices.Contains(cases, r.Case) {
			cases = append(cases, r.Case)
		}
	}
	if len(cases) == 0 {
		return nil
	}
	var body bytes.Buffer
	y := margin + titleHeight
	for _, name := range cases {
		y = drawCase(&body, y, name, w.Chart, rows, systems)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n",
		chartWidth, y+margin)
	title := fmt.Sprintf("%s: %s, %s (%s is better)", w.Name, w.Title, w.Chart, better(w.Chart))
	fmt.Fprintf(&b, "<title>%s</title>\n%s", escape(title), chartStyle)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="%d">%s</text>`+"\n", margin, margin+14, escape(title))
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// drawCase draws the bars of one case and returns where the next one begins.
func drawCase(b *bytes.Buffer, y int, name string, m Metric, rows []Row, systems []System) int {
	var most float64
	for _, r := range rows {
		if s, ok := r.Stats[m]; ok && r.Case == name {
			most = max(most, s.Max)
		}
	}
	scale := func(v float64) float64 {
		if most == 0 {
			return 0
		}
		return v / most * (chartWidth - 2*margin - labelWidth - valueWidth)
	}
	fmt.Fprintf(b, `<text class="case" x="%d" y="%d">%s</text>`+"\n", margin, y+14, escape(name))
	y += headHeight
	const x = margin + labelWidth
	for _, r := range rows {
		s, ok := r.Stats[m]
		if !ok || r.Case != name {
			continue
		}
		middle := y + barHeight/2
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`, margin, middle+5, escape(r.System))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`,
			x, y, scale(s.Median), barHeight, colour(r.System, systems))
		if s.Rounds > 1 {
			fmt.Fprintf(b, `<line class="spread" x1="%.1f" x2="%.1f" y1="%d" y2="%[3]d"/>`,
				x+scale(s.Min), x+scale(s.Max), middle)
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", x+scale(s.Max)+6, middle+5, escape(s.String()))
		y += barPitch
	}
	return y + margin
}

// colour returns the colour of a system, the same in all charts of a run.
func colour(name string, systems []System) string {
	i := slices.IndexFunc(systems, func(s System) bool { return s.Name == name })
	return palette[max(i, 0)%len(palette)]
}

// better says which way the metric is good.
func better(m Metric) string {
	switch m {
	case Messages, Bytes, Topics, CatchUp, Operations:
		return "more"
	}
	return "less"
}

func escape(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s)) // a Buffer takes everything
	return b.String()
}

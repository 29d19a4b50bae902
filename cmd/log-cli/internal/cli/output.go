package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/internal/exit"
)

// PrintJSON writes v as one line.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return exit.OutputError(enc.Encode(v))
}

// Printf writes text.
func Printf(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(w, format, args...)
	return exit.OutputError(err)
}

// FieldsJSON returns a JSON object of a server's values in their order, with
// whole numbers as numbers. If name is not nil, it makes the keys. What is a
// name stays a text even where it looks like a number.
func FieldsJSON(fields []admin.Field, name func(string) string) json.RawMessage {
	var b strings.Builder
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		key := f.Name
		if name != nil {
			key = name(key)
		}
		b.WriteString(jsonString(key))
		b.WriteByte(':')
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && f.Name != "Topic" && f.Name != "Version" {
			b.WriteString(strconv.FormatInt(n, 10))
		} else {
			b.WriteString(jsonString(f.Value))
		}
	}
	b.WriteByte('}')
	return json.RawMessage(b.String())
}

func jsonString(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string fails
	}
	return string(b)
}

// Snake turns a server's name such as MaxBatchSize into the style of JSON
// keys: max_batch_size.
func Snake(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// PrintTable prints a table with a line of headings.
func (a *App) PrintTable(headings string, fill func(row func(format string, args ...any))) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, headings)
	fill(func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) })
	w.Flush() // to memory
	for line := range strings.Lines(text.String()) {
		if err := Printf(a.Stdout, "%s\n", strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

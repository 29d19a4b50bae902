package overrides

import (
	"strconv"

	"github.com/logd-dev/logd/internal/setting"
)

// Header is the name of a table of a configuration file that has settings of topics.
const Header = "topic"

// entry is what stands under [[topic]]: which topics it is for, and settings.
type entry struct {
	match string
	Values
}

// Table says what may stand in such a table.
var Table = setting.NewTable("logd", "", append([]setting.Setting[entry]{{
	Name: "match", Kind: setting.Text, Default: "", Field: setting.One(func(e *entry) *string { return &e.match }, matchValues),
}}, within()...))

var matchValues = setting.Values[string]{
	Parse: setting.ParseText, Format: func(s string) string { return s }, Check: CheckPattern,
	Allowed: "a name of a topic, in which * stands for any bytes",
}

func within() (list []setting.Setting[entry]) {
	for _, s := range settings {
		list = append(list, setting.Within(s, func(e *entry) *Values { return &e.Values }))
	}
	return list
}

// FromFile returns the rules of tables of the file at path, and all that is wrong with
// them: each error is a *setting.Error.
func FromFile(path string, parts []setting.Part) (rules []Rule, problems []error) {
	lines := make(map[string]int) // of tables, by pattern
	for _, part := range parts {
		at := func(line int) setting.Origin { return setting.Origin{Source: setting.FromFile, Name: path, Line: line} }
		pattern, line, bad := "", part.Line, false
		var found []Rule
		for _, p := range part.Pairs {
			s, _ := Table.Lookup(p.Name)
			var e entry
			if err := s.SetTexts(&e, p.Texts); err != nil {
				problems = append(problems, s.Problem(at(p.Line), p.Written, err))
				bad = bad || p.Name == "match"
				continue
			}
			if k, ok := Lookup(p.Name); ok {
				found = append(found, Rule{Key: k, Value: e.Values.Text(k), File: path, Line: p.Line})
			} else {
				pattern, line = e.match, p.Line
			}
		}
		switch first := lines[pattern]; {
		case bad: // as was said
		case pattern == "":
			problems = append(problems, &setting.Error{Origin: at(part.Line), Key: "[[" + Header + "]]", Reason: "match is missing: for which topics?", Allowed: matchValues.Allowed})
		case first > 0:
			problems = append(problems, &setting.Error{
				Origin: at(line), Key: "match", Value: strconv.Quote(pattern),
				Reason: "there is a [[topic]] of that pattern on line " + strconv.Itoa(first) + "; put their settings into one",
			})
		default:
			lines[pattern] = line
			for _, r := range found {
				r.Pattern = pattern
				rules = append(rules, r)
			}
		}
	}
	return rules, problems
}

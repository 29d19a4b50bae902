package render

import (
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

func TestTopic(t *testing.T) {
	v := &Vars{
		Wild: []string{"web", "eu/1", ""}, Path: "/var/log/app/access.log.1",
		App: "My App", Unit: "ssh.service", Facility: "daemon", Severity: "err", Host: "h1.example",
	}
	long := strings.Repeat("x", 300)
	tests := []struct {
		template string
		vars     *Vars
		want     string
	}{
		{"logs", v, "logs"},
		{"app-{1}", v, "app-web"},
		{"{2}", v, "eu_1"},
		{"{1}{3}", v, "webunknown"},
		{"{4}", v, "unknown"},
		{"a.{base}_B", v, "a.access_B"},
		{"{base}", &Vars{Path: "plain"}, "plain"},
		{"{base}", &Vars{Path: "/a.b/.hidden"}, "unknown"},
		{"{app}", v, "My_App"},
		{"{app}", &Vars{App: "ä"}, "_"},
		{"x{app}", &Vars{App: "ä\xff"}, "x___"},
		{"{unit}", v, "ssh.service"},
		{"{facility}.{severity}", v, "daemon.err"},
		{"{host}", v, "h1.example"},
		{"{app}", &Vars{}, "unknown"},
		{"{app}", &Vars{App: "."}, "_"},
		{"{app}", &Vars{App: "..a"}, "_.a"},
		{"{app}", &Vars{App: "./../a"}, "_.._a"},
		{"{app}", &Vars{App: ".__a"}, "_a"},
		{"{app}", &Vars{App: "___"}, "_"},
		{"_{app}", &Vars{App: "_a"}, "_a"},
		{"a{app}", &Vars{App: "__b"}, "a__b"},
		{"{app}", &Vars{App: long[:255]}, long[:255]},
		{"{app}", &Vars{App: "_" + long[:255]}, "_" + long[:245] + "-debd0d54"},
		{"{app}", &Vars{App: "___" + long[:254]}, "_" + long[:254]},
		{"{app}", &Vars{App: long}, long[:246] + "-1b432d13"},
	}
	for _, tt := range tests {
		tmpl, err := ParseTemplate(tt.template)
		if err != nil {
			t.Errorf("ParseTemplate(%q): %v", tt.template, err)
			continue
		}
		if got := string(tmpl.Topic([]byte("_kept"), tt.vars)); got != "_kept"+tt.want {
			t.Errorf("%q of %.40q: %q, want %q behind _kept", tt.template, tt.vars, got, tt.want)
		}
	}
}

func TestParseTemplateErrors(t *testing.T) {
	for template, want := range map[string]string{
		"":                       "not a name of a topic",
		".a":                     "do not begin with",
		"__a":                    "do not begin with",
		"__{app}":                "do not begin with",
		".{app}":                 "do not begin with",
		strings.Repeat("a", 256): "not a name of a topic",
		"a b":                    `' ' is not in the names`,
		"ä{app}":                 `'ä' is not in the names`,
		"{app}/":                 `'/' is not in the names`,
		"{":                      "brace",
		"a}":                     "brace",
		"{app":                   "brace",
		"{a{pp}":                 "brace",
		"{}":                     "{} is not known",
		"{App}":                  "{App} is not known",
		"{name}":                 "there are {1} to {99}, {base}, {app}, {unit}, {facility}, {severity}, {host}",
		"{0}":                    "{0} is not known",
		"{01}":                   "{01} is not known",
		"{+1}":                   "{+1} is not known",
		"{100}":                  "{100} is not known",
	} {
		if _, err := ParseTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTemplate(%q): %v, want %q", template, err, want)
		}
	}
}

func TestTemplateFacts(t *testing.T) {
	for _, tt := range []struct {
		template string
		constant bool
		wild     int
		names    []string
	}{
		{"logs", true, 0, nil},
		{"{3}-{1}", false, 3, nil},
		{"{app}-{host}-{app}", false, 0, []string{"app", "host"}},
	} {
		tmpl, err := ParseTemplate(tt.template)
		if err != nil {
			t.Fatal(err)
		}
		if tmpl.String() != tt.template || tmpl.Constant() != tt.constant || tmpl.Wildcards() != tt.wild || !slices.Equal(tmpl.Names(), tt.names) {
			t.Errorf("%s: %q, %t, %d, %v", tt.template, tmpl, tmpl.Constant(), tmpl.Wildcards(), tmpl.Names())
		}
	}
}

func FuzzTopic(f *testing.F) {
	f.Add("app-{1}", "x")
	f.Add("{base}.{app}", "/a/b.c")
	f.Add("_{app}{unit}{facility}", "_._")
	f.Fuzz(func(t *testing.T, template, value string) {
		tmpl, err := ParseTemplate(template)
		if err != nil {
			return
		}
		v := &Vars{Wild: []string{value}, Path: value, App: value, Unit: value, Facility: value, Severity: value, Host: value}
		got := tmpl.Topic(nil, v)
		if !batch.ValidTopic(got) || strings.HasPrefix(string(got), "__") {
			t.Errorf("%q of %q: %q is no name of a topic", template, value, got)
		}
		if tmpl.Constant() && string(got) != template {
			t.Errorf("%q: %q", template, got)
		}
	})
}

func TestTopicAllocates(t *testing.T) {
	tmpl, err := ParseTemplate("{1}-{base}-{app}")
	if err != nil {
		t.Fatal(err)
	}
	v := &Vars{Wild: []string{strings.Repeat("w", 300)}, Path: "/var/log/a.log", App: "sshd"}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = tmpl.Topic(buf[:0], v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

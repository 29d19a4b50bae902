package packaging

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/testkit"
)

// alert is a rule of alerts.yml.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	b, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// dashboard returns the expressions of grafana.json.
func dashboard(t *testing.T) (exprs []string) {
	t.Helper()
	b, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Query string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("a panel %q has %d targets", p.Title, len(p.Targets))
		}
		for _, target := range p.Targets {
			exprs = append(exprs, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	if d.Title == "" || len(exprs) < 10 {
		t.Errorf("a dashboard %q of %d expressions", d.Title, len(exprs))
	}
	return exprs
}

// TestAlertsAreDocumented: each alert has what a person who is woken by it needs.
func TestAlertsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, a := range alerts(t) {
		if a.Alert == "" || a.Annotations["summary"] == "" || a.For == "" || a.Labels["severity"] == "" {
			t.Errorf("%+v lacks a name, a summary, for or a severity", a)
		}
		if seen[a.Alert] {
			t.Errorf("%s is there twice", a.Alert)
		}
		seen[a.Alert] = true
		if !strings.Contains(string(doc), "\n### "+a.Alert+"\n") {
			t.Errorf("docs/operations.md has no heading ### %s", a.Alert)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Logd\w+)$`).FindAllStringSubmatch(string(doc), -1) {
		if !seen[m[1]] {
			t.Errorf("docs/operations.md has %s, which is no alert", m[1])
		}
	}
}

// TestAlertsFire: each alert fires where it should, and not where all is well.
func TestAlertsFire(t *testing.T) {
	need(t, "promtool")
	b, err := os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if strings.Count(string(b), "- name: "+a.Alert+", ") != 2 {
			t.Errorf("alerts_test.yml does not have %s both ways", a.Alert)
		}
	}
	if out, err := exec.Command("promtool", "test", "rules", "alerts_test.yml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestExpressions: Prometheus' own parser takes every expression.
func TestExpressions(t *testing.T) {
	need(t, "promtool")
	check := func(file string) {
		t.Helper()
		if out, err := exec.Command("promtool", "check", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	check("alerts.yml")
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, e := range dashboard(t) {
		rules += fmt.Sprintf("  - record: panel:%d\n    expr: %s\n", i, strconv.Quote(e))
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	check(file)
}

// scraped are the series of a scrape: the values of each label of each metric.
type scraped map[string]map[string]map[string]bool

var (
	seriesLine = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? `)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	selector   = regexp.MustCompile(`\b((?:logd|process|go)_[a-z_]+)\b(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`([a-z_]+)(=~|!=|!~|=)"([^"]*)"`)
	grouping   = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
)

func parse(text string) scraped {
	s := make(scraped)
	for _, m := range seriesLine.FindAllStringSubmatch(text, -1) {
		if s[m[1]] == nil {
			s[m[1]] = make(map[string]map[string]bool)
		}
		for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
			if s[m[1]][l[1]] == nil {
				s[m[1]][l[1]] = make(map[string]bool)
			}
			s[m[1]][l[1]][l[2]] = true
		}
	}
	return s
}

// problems returns what of an expression the scrape does not have.
func (s scraped) problems(expr string) (found []string) {
	ofPrometheus := map[string]bool{"instance": true, "job": true}
	labels := make(map[string]bool)
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		name := m[1]
		if s[name] == nil {
			found = append(found, name)
			continue
		}
		for l := range s[name] {
			labels[l] = true
		}
		for _, c := range matcher.FindAllStringSubmatch(m[2], -1) {
			switch {
			case ofPrometheus[c[1]]:
			case s[name][c[1]] == nil:
				found = append(found, name+"{"+c[1]+"}")
			case c[2] == "=" && !s[name][c[1]][c[3]]:
				found = append(found, name+"{"+c[0]+"}")
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(m[1], ", ") {
			if !labels[l] && !ofPrometheus[l] {
				found = append(found, "by ("+l+")")
			}
		}
	}
	return found
}

// TestMetricsAreThere: what the alerts and the dashboard ask for is in a scrape of a server
// that has seen some use.
func TestMetricsAreThere(t *testing.T) {
	s := parse(busyScrape(t))
	for _, a := range alerts(t) {
		for _, p := range s.problems(a.Expr) {
			t.Errorf("%s: a busy server does not have %s", a.Alert, p)
		}
		for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(a.Annotations["summary"], -1) {
			if m[1] == "instance" {
				continue
			}
			for _, name := range selector.FindAllStringSubmatch(a.Expr, -1) {
				if s[name[1]][m[1]] == nil {
					t.Errorf("%s: %s has no label %s", a.Alert, name[1], m[1])
				}
			}
		}
	}
	for _, e := range dashboard(t) {
		for _, p := range s.problems(e) {
			t.Errorf("dashboard: a busy server does not have %s of %s", p, e)
		}
	}
}

// TestMetricsAreThereControl: the test above would notice.
func TestMetricsAreThereControl(t *testing.T) {
	s := parse("# HELP logd_a b\nlogd_a{result=\"ok\",topic=\"a\\\"b\"} 1\nlogd_b 2\n")
	for expr, want := range map[string]int{
		`rate(logd_a{result="ok"}[5m]) / logd_b`: 0, `sum by (topic, instance) (logd_a)`: 0,
		`logd_c`: 1, `logd_a{result="no"}`: 1, `logd_b{result="ok"}`: 1, `sum by (peer) (logd_a)`: 1,
	} {
		if got := s.problems(expr); len(got) != want {
			t.Errorf("%s: %v, want %d problems", expr, got, want)
		}
	}
}

// busyScrape returns /metrics of a server at which much has happened.
func busyScrape(t *testing.T) string {
	t.Helper()
	c := config.Default()
	c.Host, c.HTTPHost, c.WorkDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	c.DeleteHook = "false"
	c.AuthFile = filepath.Join(t.TempDir(), "auth.toml")
	const rules = "version = 1\n[[identity]]\nname = \"anonymous\"\nallow = [\"write,create,read *\", \"monitor *\"]\n"
	if err := os.WriteFile(c.AuthFile, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	c.TLSCert, c.TLSKey = testkit.NewAuthority(t).Issue(t, "server", nil)
	c.TLSPlain = true // so that this test need not speak it
	n, err := node.Start(context.Background(), node.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	nc, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "%sREAD t 0 1\r\nREAD t 1 1\r\nAUTH wrong\r\nCLOSE\r\n", testkit.Batch("t", "one"))
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(nc); err != nil {
		t.Fatal(err)
	}
	var text string
	testkit.Eventually(t, func() string {
		r, err := http.Get("http://" + n.HTTPAddr().String() + "/metrics")
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err.Error()
		}
		text = string(b)
		return testkit.Unless(strings.Contains(text, "logd_disk_free_bytes"), "the disk was not looked at")
	})
	return text
}

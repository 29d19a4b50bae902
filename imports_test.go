package logd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/logd-dev/logd"

// mayImport says which of our packages a package may import. A package that is
// not in the table fails the test: where it stands has to be decided first.
var mayImport = map[string][]string{
	"":                     {"backlog", "internal/link", "internal/protocol", "internal/batch", "internal/sequence", "internal/outage", "internal/intake", "internal/fetch"},
	"backlog":              {"internal/batch", "internal/durable"},
	"progress":             {"", "internal/durable"},
	"codec/zstd":           {"", "internal/codec"},
	"codec/s2":             {"", "internal/codec"},
	"admin":                {"", "internal/protocol", "internal/batch"},
	"logdtest":             {"", "internal/batch", "internal/node", "internal/config", "logdtest/memnet"},
	"logdtest/memnet":      {},
	"logdtest/script":      {"internal/protocol", "internal/batch", "internal/producers", "logdtest/memnet"},
	"internal/batch":       {},
	"internal/protocol":    {"internal/batch"},
	"internal/codec":       {"internal/batch"},
	"internal/producers":   {"internal/batch"},
	"internal/sequence":    {},
	"internal/outage":      {},
	"internal/countback":   {},
	"internal/fetch":       {"internal/countback", "internal/link", "internal/protocol", "internal/batch"},
	"internal/intake":      {"internal/link", "internal/protocol", "internal/sequence", "internal/batch"},
	"internal/durable":     {},
	"internal/link":        {"internal/protocol", "internal/batch", "internal/tlsconn"},
	"internal/vfs":         {},
	"internal/vfs/vfstest": {"internal/vfs"},

	// The rooms of storage, from the top down. Those who print or apply verdicts
	// never see the store.
	"internal/storage": {
		"internal/storage/clock", "internal/storage/numbers",
		"internal/batch", "internal/vfs", "internal/topic", "internal/producers", "internal/storage/commitlog", "internal/storage/diagnose",
		"internal/storage/journal", "internal/storage/files", "internal/storage/layout", "internal/storage/retain",
		"internal/storage/syncs", "internal/storage/deleted", "internal/storage/scrub",
	},
	"internal/storage/commitlog": {
		"internal/storage/partition",
		"internal/storage/clock", "internal/storage/numbers",
		"internal/batch", "internal/vfs", "internal/topic", "internal/producers", "internal/storage/diagnose", "internal/storage/scan",
		"internal/storage/index", "internal/storage/journal", "internal/storage/files", "internal/storage/layout", "internal/storage/retain",
		"internal/storage/syncs", "internal/storage/deleted",
	},
	"internal/storage/fsck": {
		"internal/batch", "internal/codec", "internal/vfs", "internal/storage/diagnose", "internal/storage/scan", "internal/storage/index",
		"internal/storage/journal", "internal/storage/files", "internal/storage/layout",
	},
	"internal/storage/diagnose": {"internal/batch", "internal/vfs", "internal/storage/scan", "internal/storage/journal", "internal/storage/layout"},
	"internal/storage/scan":     {"internal/batch", "internal/vfs", "internal/storage/layout"},
	"internal/storage/index": {
		"internal/batch", "internal/vfs", "internal/storage/scan", "internal/storage/journal", "internal/storage/files", "internal/storage/layout",
	},
	"internal/storage/journal": {"internal/batch", "internal/vfs", "internal/storage/files", "internal/storage/layout"},
	"internal/storage/files":   {"internal/vfs", "internal/topic"},
	"internal/storage/layout":  {"internal/batch", "internal/vfs"},
	"internal/storage/retain":  {"internal/topic"},
	"internal/storage/deleted": {
		"internal/batch", "internal/vfs", "internal/storage/journal", "internal/storage/files", "internal/storage/syncs", "internal/storage/layout",
	},
	"internal/storage/partition": {
		"internal/batch", "internal/vfs", "internal/topic", "internal/storage/clock", "internal/storage/scan", "internal/storage/index",
		"internal/storage/journal", "internal/storage/files", "internal/storage/layout", "internal/storage/retain", "internal/storage/walk",
	},
	"internal/storage/numbers": {
		"internal/batch", "internal/vfs", "internal/topic", "internal/producers", "internal/storage/clock", "internal/storage/journal",
		"internal/storage/files", "internal/storage/layout",
	},
	"internal/storage/clock": {},
	"internal/storage/scrub": {"internal/storage/files", "internal/storage/scan"},
	"internal/storage/syncs": {"internal/vfs", "internal/storage/files"},
	"internal/storage/walk":  {"internal/batch", "internal/vfs", "internal/topic", "internal/storage/scan", "internal/storage/index"},

	// Replication, from the bottom up.
	"internal/entry":           {"internal/batch"},
	"internal/grouplog":        {"internal/entry", "internal/vfs"},
	"internal/group":           {"internal/entry"},
	"internal/peer":            {"internal/entry"},
	"internal/cluster/copies":  {"internal/peer", "internal/entry", "internal/storage", "internal/topic", "internal/batch"},
	"internal/cluster/catchup": {"internal/cluster/copies", "internal/peer", "internal/entry", "internal/storage", "internal/topic"},
	"internal/cluster": {
		"internal/cluster/catchup", "internal/cluster/copies",
		"internal/group", "internal/grouplog", "internal/peer", "internal/entry", "internal/storage", "internal/topic", "internal/batch", "internal/vfs",
	},
	"internal/cluster/clustertest": {
		"internal/cluster", "internal/cluster/copies", "internal/peernet", "internal/grouplog", "internal/entry", "internal/storage", "internal/topic", "internal/batch", "internal/vfs",
		"internal/testkit",
	},
	"internal/peernet": {"internal/cluster", "internal/peer", "internal/socket"},

	"internal/topic":           {"internal/batch"},
	"internal/topic/topictest": {"internal/batch", "internal/topic", "internal/producers"},
	"internal/testkit":         {"internal/batch"},
	"internal/socket":          {},
	"internal/tlsconn":         {},
	"internal/tlsconf":         {"internal/tlsconn", "internal/protocol"},
	"internal/positions":       {"internal/batch"},
	"internal/keeper":          {"internal/batch", "internal/positions", "internal/topic"},
	"internal/server":          {"internal/batch", "internal/protocol", "internal/positions", "internal/topic", "internal/socket", "internal/tlsconn", "internal/quota"},
	"internal/web":             {"internal/web/api", "internal/web/console", "internal/web/problem", "internal/web/ask", "internal/batch", "internal/protocol", "internal/server", "internal/socket", "internal/topic"},
	// Pages reach topics by requests of the protocol alone.
	"internal/web/api":     {"internal/overrides", "internal/web/ask", "internal/web/problem", "internal/batch", "internal/place", "internal/protocol", "internal/server"},
	"internal/web/console": {"internal/web/ask", "internal/web/problem", "internal/batch", "internal/place", "internal/protocol", "internal/server"},
	"internal/web/problem": {"internal/web/ask", "internal/protocol"},
	"internal/web/ask":     {"internal/batch", "internal/codec", "internal/countback", "internal/place", "internal/protocol", "internal/server", "internal/topic"},
	"internal/hook":        {},
	"internal/quantity":    {},
	"internal/quota":       {},
	"internal/auth":        {"internal/pattern", "internal/quantity"},
	"internal/pattern":     {}, // of names, for rules and settings
	"internal/overrides":   {"internal/pattern", "internal/setting"},
	"internal/config":      {"internal/batch", "internal/entry", "internal/hook", "internal/overrides", "internal/setting"},
	"internal/node": {
		"internal/batch", "internal/protocol", "internal/vfs", "internal/cluster", "internal/peernet", "internal/peer", "internal/entry", "internal/grouplog",
		"internal/storage", "internal/keeper", "internal/overrides", "internal/positions", "internal/server", "internal/socket", "internal/web", "internal/config", "internal/hook", "internal/topic", "internal/codec", "internal/auth",
		"internal/tlsconf",
	},
	"internal/place":   {}, // what people write, for every program
	"internal/version": {},
	"internal/systemd": {},
	"internal/manpage": {}, // for make man and tests
	"packaging":        {},
	"internal/exit":    {},
	"cmd/logd":         {"cmd/internal/cmdline", "internal/node", "internal/config", "internal/exit", "internal/vfs", "internal/version", "internal/systemd", "internal/socket"},

	"internal/setting": {"internal/quantity"}, // for settings of any program

	// What the agent writes, and its settings: inputs see neither.
	"internal/forward/render": {"internal/forward/feed", "internal/batch"},
	"internal/forward/settings": {
		"internal/forward/feed", "internal/forward/glob", "internal/forward/inputs", "internal/forward/lines", "internal/forward/render", "internal/batch",
		"internal/setting", "internal/socket",
	},
	"internal/forward/status": {"internal/forward/feed"},
	"internal/forward/dial":   {"", "internal/forward/settings", "internal/tlsconf"},
	// What the commands of programs share that run for long.
	"cmd/internal/cmdline":    {"internal/exit", "internal/setting", "internal/systemd", "internal/version"},
	"cmd/internal/scripttest": {},
	"cmd/log-forwarder": {
		"", "cmd/internal/cmdline", "internal/batch", "internal/exit", "internal/systemd", "internal/vfs", "internal/version",
		"internal/forward", "internal/forward/audit", "internal/forward/dial", "internal/forward/segment", "internal/forward/settings", "internal/forward/spool", "internal/forward/status",
	},

	// The rooms of log-cli: commands never see each other, only what they share.
	"cmd/log-cli": {
		"cmd/log-cli/internal/cli", "cmd/log-cli/internal/write", "cmd/log-cli/internal/read", "cmd/log-cli/internal/operate",
		"cmd/log-cli/internal/offline", "cmd/log-cli/internal/bench", "cmd/log-cli/internal/token", "cmd/log-cli/internal/consumers", "cmd/log-cli/internal/carry",
		"cmd/log-cli/internal/top", "codec/zstd", "codec/s2",
	},
	"cmd/log-cli/internal/cli":        {"", "admin", "internal/exit", "internal/place", "internal/protocol", "internal/version", "internal/tlsconf"},
	"cmd/log-cli/internal/places":     {"", "admin", "internal/exit", "internal/place", "cmd/log-cli/internal/cli"},
	"cmd/log-cli/internal/write":      {"", "admin", "backlog", "internal/batch", "internal/codec", "internal/exit", "cmd/log-cli/internal/cli"},
	"cmd/log-cli/internal/read":       {"", "progress", "internal/exit", "internal/place", "cmd/log-cli/internal/cli", "cmd/log-cli/internal/places"},
	"cmd/log-cli/internal/operate":    {"", "admin", "internal/exit", "internal/overrides", "internal/place", "cmd/log-cli/internal/cli", "cmd/log-cli/internal/places"},
	"cmd/log-cli/internal/consumers":  {"", "internal/exit", "internal/place", "cmd/log-cli/internal/cli", "cmd/log-cli/internal/places"},
	"cmd/log-cli/internal/offline":    {"", "internal/exit", "internal/storage/fsck", "internal/storage/layout", "internal/vfs", "cmd/log-cli/internal/cli"},
	"cmd/log-cli/internal/token":      {"internal/auth", "internal/durable", "internal/exit", "internal/protocol", "internal/quantity", "cmd/log-cli/internal/cli"},
	"cmd/log-cli/internal/top":        {"", "admin", "internal/exit", "cmd/log-cli/internal/cli"},
	"cmd/log-cli/internal/exportfile": {"internal/batch", "internal/codec"},
	"cmd/log-cli/internal/carry": {
		"", "admin", "internal/batch", "internal/durable", "internal/exit", "internal/place",
		"cmd/log-cli/internal/cli", "cmd/log-cli/internal/exportfile", "cmd/log-cli/internal/places",
	},
	"cmd/log-cli/internal/bench": {"", "admin", "backlog", "internal/codec", "internal/exit", "cmd/log-cli/internal/cli"},

	// The agent, from the bottom up: it sees of logd's own what is for clients.
	"internal/forward/feed":    {},
	"internal/forward/inputs":  {"internal/forward/feed", "internal/forward/lines", "internal/batch", "internal/socket"},
	"internal/forward/journal": {"internal/forward/feed", "internal/forward/lines", "internal/forward/inputs"},
	"internal/forward/segment": {"internal/vfs"},
	"internal/forward/ledger":  {"internal/vfs", "internal/forward/feed", "internal/forward/segment"},
	"internal/forward/spool":   {"internal/vfs", "internal/forward/ledger", "internal/forward/segment"},
	"internal/forward/audit":   {"", "internal/vfs", "internal/forward/feed", "internal/forward/ledger", "internal/forward/spool", "internal/forward/segment"},
	"internal/forward/deliver": {
		"", "internal/vfs", "internal/forward/feed", "internal/forward/render", "internal/forward/ledger", "internal/forward/spool", "internal/forward/segment",
	},
	"internal/forward/lines": {"internal/forward/feed"},

	"internal/forward/glob":     {},
	"internal/forward/identity": {"internal/forward/feed"},
	"internal/forward": {
		"", "internal/exit", "internal/vfs", "internal/tlsconf", "internal/forward/feed", "internal/forward/lines", "internal/forward/files", "internal/forward/inputs", "internal/forward/journal",
		"internal/forward/deliver", "internal/forward/ledger", "internal/forward/segment", "internal/forward/settings", "internal/forward/status", "internal/forward/dial",
	},
	"internal/forward/files": {"internal/forward/feed", "internal/forward/glob", "internal/forward/identity", "internal/forward/lines"},

	"tests":         {},
	"tests/forward": {"", "admin"},
	"tests/clients": {"", "admin"},

	"examples/go/producer": {""},
	"examples/go/follower": {""},
	"examples/go/worker":   {"", "progress"},
	"examples/go/shares":   {"", "progress"},
}

// mustNotReach says which packages a package must not import, not even by way
// of others.
var mustNotReach = map[string][]string{
	"internal/batch":       {"net", "os"},
	"internal/codec":       {"net"},
	"internal/producers":   {"net", "os", "time"},
	"internal/sequence":    {"net", "os", "time"},
	"internal/outage":      {"net", "os/exec"},
	"internal/intake":      {"os/exec"},
	"internal/fetch":       {"os/exec"},
	"internal/durable":     {"net"},
	"internal/place":       {"net", "os/exec", "flag"},
	"backlog":              {"net"},
	"internal/vfs":         {"net"},
	"internal/vfs/vfstest": {"net"},

	"internal/storage":           {"net", "flag"},
	"internal/storage/commitlog": {"net", "flag", module + "/internal/storage"},
	"internal/storage/fsck":      {"net", "flag", module + "/internal/storage", module + "/internal/storage/commitlog"},
	"internal/storage/diagnose":  {"net", "flag", module + "/internal/storage", module + "/internal/storage/commitlog"},
	"internal/storage/scan":      {"net", "flag"},
	"internal/storage/index":     {"net", "flag"},
	"internal/storage/journal":   {"net", "flag"},
	"internal/storage/files":     {"net", "flag"},
	"internal/storage/layout":    {"net", "flag"},
	"internal/storage/syncs":     {"net", "flag"},
	"internal/storage/deleted":   {"net", "flag"},
	"internal/storage/scrub":     {"net", "flag"},
	"internal/storage/walk":      {"net", "flag"},
	"internal/storage/numbers":   {"net", "flag"},
	"internal/storage/partition": {"net", "flag"},
	"internal/storage/clock":     {"net", "flag", "os"},
	"internal/storage/retain":    {"net", "flag", "os", module + "/internal/vfs"},

	"internal/entry":    {"net", "os"},
	"internal/grouplog": {"net", "flag"},
	"internal/group":    {"net/http", "flag"},
	"internal/peer":     {"net", "os"},
	"internal/cluster":  {"net", "flag"},
	// The rooms of a member know nothing of how its groups decide.
	"internal/cluster/copies":  {"net", "flag", module + "/internal/group", module + "/internal/grouplog"},
	"internal/cluster/catchup": {"net", "flag", module + "/internal/group", module + "/internal/grouplog"},
	"internal/peernet":         {"net/http", "flag"},
	"internal/socket":          {"net/http", "flag"},
	"internal/auth":            {"net/http", "flag"},
	"internal/tlsconn":         {"net/http", "flag"},
	"internal/quota":           {"net", "flag"},
	"internal/tlsconf":         {"net/http", "flag"},

	"internal/topic":    {"net", "os"},
	"internal/protocol": {"net", "os"},
	"internal/server":   {module + "/internal/storage", module + "/internal/vfs", "flag", "net/http"},
	"internal/web":      {module + "/internal/storage", module + "/internal/vfs", "flag"},
	"internal/web/api":  {module + "/internal/storage", module + "/internal/vfs", "flag"},
	"internal/web/ask":  {module + "/internal/storage", module + "/internal/vfs", "flag"},
	"internal/link":     {"os/exec", "flag", "net/http"},
	"":                  {"flag", "net/http"},
	"admin":             {"flag", "net/http", "os/exec"},
}

// forTests are the packages that only tests import.
var forTests = []string{"internal/vfs/vfstest", "internal/topic/topictest", "internal/cluster/clustertest", "logdtest", "logdtest/memnet", "logdtest/script", "internal/testkit", "cmd/internal/scripttest", "testing"}

// goPackage is what this test wants to know from go list.
type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports, Deps   []string
}

// TestImports keeps the imports pointing one way.
func TestImports(t *testing.T) {
	packages, err := listPackages()
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("go list knows of %d packages only", len(packages))
	}
	for _, p := range packages {
		for _, problem := range p.problems() {
			t.Error(problem)
		}
		for _, problem := range p.calls(t) {
			t.Error(problem)
		}
	}
}

// TestImportsControl makes sure that TestImports would notice.
func TestImportsControl(t *testing.T) {
	tests := map[string]goPackage{
		"not in the table": {ImportPath: module + "/internal/util"},
		"import of ours":   {ImportPath: module + "/internal/batch", Imports: []string{module + "/internal/vfs"}},
		"reaches net":      {ImportPath: module + "/internal/storage", Deps: []string{"net"}},
		"reaches storage":  {ImportPath: module + "/internal/server", Deps: []string{module + "/internal/storage"}},
		"flags":            {ImportPath: module + "/internal/node", Imports: []string{"github.com/spf13/pflag"}},
		"other's package":  {ImportPath: module, Imports: []string{"github.com/spf13/cobra"}},
		"tests only":       {ImportPath: module + "/internal/node", Imports: []string{module + "/internal/vfs/vfstest"}},
	}
	for name, p := range tests {
		if len(p.problems()) == 0 {
			t.Errorf("%s: no problem found in %+v", name, p)
		}
	}
	const source = "package p\nimport \"os\"\nfunc f() { os.Exit(1) }\n"
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !callsExit(file) {
		t.Error("os.Exit was not found")
	}
}

func listPackages() ([]goPackage, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, err
	}
	var packages []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

// name returns the import path without the module's.
func name(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// problems returns what is wrong with the package's imports.
func (p *goPackage) problems() (found []string) {
	report := func(format string, args ...any) {
		found = append(found, p.ImportPath+" "+fmt.Sprintf(format, args...))
	}
	self, _ := name(p.ImportPath)
	allowed, known := mayImport[self]
	if !known {
		report("is not in the table of this test: say there what it may import")
	}
	isCommand := strings.HasPrefix(self, "cmd/")
	for _, path := range p.Imports {
		ours, isOurs := name(path)
		switch {
		case slices.Contains(forTests, ours) || slices.Contains(forTests, path):
			if !slices.Contains(forTests, self) {
				report("imports %s, which is for tests", path)
			}
		case isOurs && !slices.Contains(allowed, ours):
			report("must not import %s", path)
		case self == "" && !isOurs && strings.Contains(path, "."):
			report("imports %s: the client uses the standard library only", path)
		case !isCommand && self != "internal/manpage" && self != "internal/testkit" && (path == "flag" || strings.HasPrefix(path, "github.com/spf13/")):
			report("imports %s: flags are for commands", path)
		}
	}
	for _, path := range mustNotReach[self] {
		if slices.Contains(p.Deps, path) {
			report("reaches %s by way of its imports", path)
		}
	}
	return found
}

// calls returns the files that end the process, outside commands.
func (p *goPackage) calls(t *testing.T) (found []string) {
	self, _ := name(p.ImportPath)
	isCommand := strings.HasPrefix(self, "cmd/") && strings.Count(self, "/") == 1 || strings.HasPrefix(self, "examples/")
	for _, file := range p.GoFiles {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		if !isCommand && callsExit(parsed) {
			found = append(found, fmt.Sprintf("%s/%s ends the process: only commands do", p.ImportPath, file))
		}
	}
	return found
}

// callsExit reports whether the file has os.Exit or log.Fatal in it.
func callsExit(file *ast.File) (found bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			x, _ := sel.X.(*ast.Ident)
			found = found || x != nil && (x.Name == "os" && sel.Sel.Name == "Exit" || x.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal"))
		}
		return !found
	})
	return found
}

package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// TestEveryCommandIsLookedUp: lookup knows each command, and finds for none more
// than it has use for.
func TestEveryCommandIsLookedUp(t *testing.T) {
	store := topictest.NewMemory()
	store.Create(t.Context(), []byte("t"))
	s := New(Options{Store: store, Hooks: store})
	for i := range protocol.NumCommands {
		cmd := protocol.Command(i)
		c := s.newCaller(nil)
		f, err := c.lookup(t.Context(), cmd, []byte("t"))
		if cmd == protocol.Unknown {
			if err != protocol.ErrUnauthorized {
				t.Errorf("what is no command: %v", err)
			}
			continue
		}
		var has []string
		for what, is := range map[string]bool{"log": f.log != nil, "catalog": f.catalog != nil, "hooks": f.hooks != nil, "broken": f.broken != nil} {
			if is {
				has = append(has, what)
			}
		}
		if err != nil || len(has) > 1 {
			t.Errorf("%v: %v, %v", cmd, has, err)
		}
	}
}

// TestOneLookup: nothing but access.go has the store and its hooks, so that no
// command goes around the one place where rights are asked for.
func TestOneLookup(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if found := doorsUsed(file); (len(found) > 0) != (name == "access.go") {
			t.Errorf("%s: uses %q", name, found)
		}
	}
	const around = "package server\nfunc (c *caller) topics() []string { return c.srv.doors.store.Topics() }\n"
	file, err := parser.ParseFile(token.NewFileSet(), "around.go", around, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(doorsUsed(file)) == 0 {
		t.Error("a way around is not found")
	}
}

// doorsUsed returns the fields of doors that a file uses.
func doorsUsed(file *ast.File) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"store", "deleteHooks"}, sel.Sel.Name) {
			found = append(found, sel.Sel.Name)
		}
		return true
	})
	return found
}

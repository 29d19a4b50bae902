package logd_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var updateAPI = flag.Bool("update-api", false, "write what the packages export to api.txt")

// TestAPI compares what the public packages export with api.txt, so that no
// change of it goes unseen: what is there once is kept.
func TestAPI(t *testing.T) {
	var got strings.Builder
	for _, p := range []struct{ dir, name string }{
		{".", "logd"}, {"admin", "admin"}, {"backlog", "backlog"}, {"progress", "progress"}, {"logdtest", "logdtest"}, {"logdtest/memnet", "memnet"}, {"logdtest/script", "script"},
		{"codec/s2", "s2"}, {"codec/zstd", "zstd"},
	} {
		declarations, err := exported(p.dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(declarations) == 0 || len(declarations) < 5 && !strings.HasPrefix(p.dir, "codec/") {
			t.Fatalf("package %s exports %q only", p.name, declarations)
		}
		fmt.Fprintf(&got, "package %s\n\n", p.name)
		for _, d := range declarations {
			fmt.Fprintf(&got, "%s\n\n", d)
		}
	}
	text := strings.TrimSuffix(got.String(), "\n")
	if *updateAPI {
		if err := os.WriteFile("api.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("api.txt")
	if err != nil {
		t.Fatal(err)
	}
	was, is := declarationsOf(string(want)), declarationsOf(text)
	for _, d := range was {
		if !slices.Contains(is, d) {
			t.Errorf("gone or changed:\n%s", d)
		}
	}
	for _, d := range is {
		if !slices.Contains(was, d) {
			t.Errorf("new or changed:\n%s", d)
		}
	}
	if !t.Failed() && text != string(want) {
		t.Error("api.txt has another order or form")
	}
	if t.Failed() {
		t.Log("if this is intended: go test -run TestAPI -update-api .")
	}
}

func declarationsOf(text string) []string { return strings.Split(strings.TrimSpace(text), "\n\n") }

// exported returns the exported declarations of the package in the folder,
// without comments, bodies and what is not exported, sorted.
func exported(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if !ast.FileExports(file) {
			continue
		}
		for _, decl := range file.Decls {
			all = append(all, declarations(fset, decl)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// declarations returns each thing that decl declares, in the form of its own.
func declarations(fset *token.FileSet, decl ast.Decl) (all []string) {
	show := func(node any) string {
		var b bytes.Buffer
		if err := (&printer.Config{Mode: printer.UseSpaces, Tabwidth: 4}).Fprint(&b, fset, node); err != nil {
			return err.Error()
		}
		return b.String()
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		d.Body, d.Doc = nil, nil
		if d.Recv != nil && !ast.IsExported(receiver(d)) {
			return nil
		}
		return []string{show(d)}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		for i, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				spec.Doc, spec.Comment = nil, nil
				all = append(all, squeeze("type "+show(spec)))
			case *ast.ValueSpec:
				for k, name := range spec.Names {
					text := d.Tok.String() + " " + name.Name
					if spec.Type != nil {
						text += " " + show(spec.Type)
					}
					switch {
					case d.Tok == token.CONST && k < len(spec.Values):
						text += " = " + show(spec.Values[k])
					case d.Tok == token.CONST:
						text += fmt.Sprintf(" = iota of %d", i)
					}
					all = append(all, text)
				}
			}
		}
	}
	return all
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	switch x := d.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, ok := x.X.(*ast.Ident); ok {
			return id.Name
		}
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// squeeze takes out the empty lines, which separate declarations, and what
// aligns fields, which comments between them change.
func squeeze(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		words := strings.Join(strings.Fields(line), " ")
		if words == "" {
			continue
		}
		if line[0] == ' ' {
			words = "    " + words
		}
		lines = append(lines, words)
	}
	return strings.Join(lines, "\n")
}

// TestAPIControl makes sure that TestAPI would notice.
func TestAPIControl(t *testing.T) {
	dir := t.TempDir()
	source := `package p

import "io"

// A is documented.
type A struct {
	// B too.
	B int

	c int
}

type hidden struct{ D int }

func (h hidden) E() {}

func (a *A) F(r io.Reader) error { return nil }

const (
	G A2 = iota
	H
)

type A2 uint8

var I, j = 1, 2

type K interface{ L(int) (n int64, err error) }
`
	want := []string{
		"const G A2 = iota", "const H = iota of 1", "func (a *A) F(r io.Reader) error",
		"type A struct {\n    B int\n    // contains filtered or unexported fields\n}", "type A2 uint8",
		"type K interface {\n    L(int) (n int64, err error)\n}", "var I",
	}
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exported(dir)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("exported, %v:\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

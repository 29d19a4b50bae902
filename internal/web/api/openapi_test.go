package api_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/logd-dev/logd/internal/web/api"
)

// openAPI is the description of the API, compiled.
type openAPI struct {
	paths    map[string]map[string]json.RawMessage
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by where they stand
}

var described = sync.OnceValues(func() (*openAPI, error) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", whole); err != nil {
		return nil, err
	}
	return &openAPI{paths: doc.Paths, compiler: c, schemas: make(map[string]*jsonschema.Schema)}, nil
})

// schema returns the schema that stands at a place in the description.
func (o *openAPI) schema(at ...string) (*jsonschema.Schema, error) {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	var words []string
	for _, word := range at {
		words = append(words, escape.Replace(word))
	}
	place := "openapi.json#/" + strings.Join(words, "/")
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.schemas[place]; s != nil {
		return s, nil
	}
	s, err := o.compiler.Compile(place)
	o.schemas[place] = s
	return s, err
}

// pathOf returns the path of the description that a request is of, or nothing.
func (o *openAPI) pathOf(path string) string {
	words := strings.Split(strings.TrimPrefix(path, "/api/v1"), "/")
	for pattern := range o.paths {
		parts := strings.Split(pattern, "/")
		fits := len(parts) == len(words)
		for i := 0; fits && i < len(parts); i++ {
			fits = parts[i] == words[i] || strings.HasPrefix(parts[i], "{")
		}
		if fits {
			return pattern
		}
	}
	return ""
}

// fits checks that an answer is as the description says.
func fits(t testing.TB, a *answer) {
	t.Helper()
	o, err := described()
	if err != nil {
		t.Fatal(err)
	}
	path, method, kind := o.pathOf(a.Request.URL.EscapedPath()), strings.ToLower(a.Request.Method), a.Header.Get("Content-Type")
	kind, _, _ = strings.Cut(kind, ";")
	if a.body == "" || a.err != nil || a.Header.Get("Content-Encoding") != "" || kind == "text/plain" && a.StatusCode >= 400 { // where the API is not served
		return
	}
	var s *jsonschema.Schema
	switch {
	case kind == "application/problem+json":
		s, err = o.schema("components", "schemas", "Problem")
	case path == "" || method == "head":
		return
	default:
		s, err = o.schema("paths", path, method, "responses", strconv.Itoa(a.StatusCode), "content", kind, "schema")
	}
	if err != nil {
		t.Errorf("%s %s: %d %s is not described: %v", a.Request.Method, a.Request.URL, a.StatusCode, kind, err)
		return
	}
	texts := []string{a.body}
	switch kind {
	case "application/x-ndjson":
		texts = strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	case "application/json", "application/problem+json":
	default:
		return
	}
	for _, text := range texts {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			t.Errorf("%s %s: %.300s is not as it is described: %v", a.Request.Method, a.Request.URL, text, err)
			return
		}
	}
}

// TestOpenAPI: what is described is what there is.
func TestOpenAPI(t *testing.T) {
	o, err := described()
	if err != nil {
		t.Fatal(err)
	}
	routes := api.Routes()
	for path, methods := range o.paths {
		var names []string
		for method := range methods {
			if method != "parameters" {
				names = append(names, strings.ToUpper(method))
			}
		}
		want := routes[path]
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%s: %v are described, and there are %v", path, names, want)
		}
		delete(routes, path)
	}
	for path := range routes {
		t.Errorf("%s is not described", path)
	}
	// The keys of queries, too.
	keys := api.QueryKeys()
	for path, methods := range o.paths {
		for method, text := range methods {
			var op struct{ Parameters []struct{ Name, In string } }
			if method == "parameters" || json.Unmarshal(text, &op) != nil {
				continue
			}
			var names []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					names = append(names, p.Name)
				}
			}
			want := slices.Clone(keys[strings.ToUpper(method)+" "+path])
			slices.Sort(names)
			slices.Sort(want)
			if !slices.Equal(names, want) {
				t.Errorf("%s %s: the keys %v are described, and there are %v", method, path, names, want)
			}
		}
	}
	s := start(t, nil)
	if a := s.get("/openapi.json"); a.StatusCode != http.StatusOK || !strings.HasPrefix(a.body, "{\n \"openapi\": \"3.1.0\"") {
		t.Errorf("%d %.100q", a.StatusCode, a.body)
	}
}

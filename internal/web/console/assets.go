package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/web/ask"
)

//go:embed assets templates
var files embed.FS

// asset is a file that pages use. Its name changes with what is in it, so that it can be
// kept for good by whoever has it.
type asset struct {
	kind  string
	bytes []byte
}

// assetPrefix is what the paths of assets begin with.
const assetPrefix = "/assets/"

var (
	assetNames = make(map[string]string) // by the names of the files: console.css
	assets     = make(map[string]asset)  // by path
)

// indents is what is in the source of the script for those who read it there: the comments
// that are lines of their own, and what lines are indented by. The lines keep their numbers.
var indents = regexp.MustCompile(`(?m)^[ \t]*//.*$|^[ \t]+`)

var assetKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func init() {
	for _, file := range list("assets") {
		text, ext := read("assets/"+file), path.Ext(file)
		if ext == ".js" {
			text = indents.ReplaceAll(text, nil)
		}
		sum := sha256.Sum256(text)
		name := strings.TrimSuffix(file, ext) + "." + hex.EncodeToString(sum[:8]) + ext
		assetNames[file] = strings.TrimPrefix(assetPrefix, "/") + name
		assets[assetPrefix+name] = asset{assetKinds[ext], text}
	}
}

// templates returns those of the pages, by name. Where nobody looks they take no memory.
var templates = sync.OnceValue(func() map[string]*template.Template {
	layout := template.Must(template.New("layout").Funcs(words).Parse(string(read("templates/layout.html"))))
	template.Must(layout.New("acts").Parse(string(read("templates/acts.html"))))
	pages := make(map[string]*template.Template)
	for _, file := range list("templates") {
		if name := strings.TrimSuffix(file, ".html"); name != "layout" && name != "acts" {
			pages[name] = template.Must(template.Must(layout.Clone()).Parse(string(read("templates/" + file))))
		}
	}
	return pages
})

func list(dir string) (names []string) {
	entries, err := files.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(name string) []byte {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return text
}

// IsAsset reports whether a path is that of a file that pages use. Whoever asks may have
// it: it is the same at every server.
func IsAsset(path string) bool { return strings.HasPrefix(path, assetPrefix) }

// ServeAsset answers a request for a file that pages use.
func ServeAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.URL.Path]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Length", strconv.Itoa(len(a.bytes)))
	if r.Method != http.MethodHead {
		w.Write(a.bytes)
	}
}

// words are the functions of templates, by which numbers and times get into pages.
var words = template.FuncMap{
	"size": ask.Size, "count": ask.Count, "exact": ask.Exact,
	"ms":    func(n int64) string { return ask.About(time.Duration(n) * time.Millisecond) },
	"stamp": stamp,
	"text":  func(s string) template.HTML { return appendBody(nil, []byte(s)) },
	"plural": func(n any, one, many string) string {
		if text := toText(n); text != "1" {
			return text + " " + many
		}
		return "1 " + one
	},
	"since": func(now, t time.Time) template.HTML { return age(now, t) },
}

func toText(n any) string {
	switch n := n.(type) {
	case int:
		return ask.Exact(int64(n))
	case int64:
		return ask.Exact(n)
	}
	return "?"
}

// stamp returns a time as pages have it exactly.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// age returns how long ago a time was, which the script keeps right. There is nothing from
// outside in it.
func age(now, t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return template.HTML(`<time class="age" datetime="` + stamp(t) + `">` + ask.About(now.Sub(t)) + `</time>`)
}

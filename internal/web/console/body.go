package console

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"unicode"
	"unicode/utf8"
)

// The bounds of what a page shows of a body, in bytes.
const (
	shownBody  = 4 << 10
	shownHex   = 256
	deepJSON   = 32
	prettyJSON = 4 * shownBody
)

// bodyView is what a page shows of a body.
type bodyView struct {
	Text  template.HTML
	Hex   bool
	Shown int // bytes of the body that are shown
	Len   int
}

// Cut reports whether there is more of the body.
func (b bodyView) Cut() bool { return b.Shown < b.Len }

// Len64 and Shown64 are for templates.
func (b bodyView) Len64() int64   { return int64(b.Len) }
func (b bodyView) Shown64() int64 { return int64(b.Shown) }

// viewBody returns what a page shows of a body, JSON indented if it is to be pretty.
func viewBody(body []byte, pretty bool) bodyView {
	v := bodyView{Len: len(body)}
	shown := body
	if len(shown) > shownBody {
		shown = shown[:shownBody]
		for i := 0; i < utf8.UTFMax-1 && len(shown) > 0; i++ { // which may have cut a character
			if r, n := utf8.DecodeLastRune(shown); r != utf8.RuneError || n != 1 {
				break
			}
			shown = shown[:len(shown)-1]
		}
	}
	if !utf8.Valid(shown) {
		shown = body[:min(len(body), shownHex)]
		v.Shown, v.Hex = len(shown), true
		v.Text = appendBody(nil, []byte(hex.Dump(shown)))
		return v
	}
	v.Shown = len(shown)
	if pretty && !v.Cut() {
		shown = indent(shown)
	}
	var begin []byte
	if len(shown) > 0 && shown[0] == '\n' {
		begin = []byte{'\n'} // the first one in a pre is none
	}
	v.Text = appendBody(begin, shown)
	return v
}

// indent returns a JSON object or array with other white space: no value is taken apart, so
// each number stays as it was written. What is none, or is deep, stays as it is.
func indent(body []byte) []byte {
	text := bytes.TrimSpace(body)
	if len(text) == 0 || text[0] != '{' && text[0] != '[' || depth(text) > deepJSON || !json.Valid(text) {
		return body
	}
	var out bytes.Buffer
	if json.Indent(&out, text, "", "  ") != nil || out.Len() > prettyJSON {
		return body
	}
	return out.Bytes()
}

// depth returns how deep brackets are nested at most, strings not looked into.
func depth(text []byte) (most int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

// appendBody returns a text for a page: its markup is none there, and what would not be
// seen, or would have what follows shown in another order, is written out.
func appendBody(dst, text []byte) template.HTML {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '&':
			dst = append(dst, "&amp;"...)
		case r == '<':
			dst = append(dst, "&lt;"...)
		case r == '>':
			dst = append(dst, "&gt;"...)
		case r == '"':
			dst = append(dst, "&#34;"...)
		case r == '\'':
			dst = append(dst, "&#39;"...)
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `<b class="esc">\x%02x</b>`, text[0])
		case !hidden(r):
			dst = append(dst, text[:n]...)
		case r == '\r':
			dst = append(dst, `<b class="esc">\r</b>`...)
		case r < 0x100:
			dst = fmt.Appendf(dst, `<b class="esc">\x%02x</b>`, r)
		default:
			dst = fmt.Appendf(dst, `<b class="esc">\u{%x}</b>`, r)
		}
		text = text[n:]
	}
	return template.HTML(dst)
}

// hidden reports whether a character is not seen where it stands: one that controls, or
// that changes the direction of others. Those that join others are not: scripts and
// emoji need them.
func hidden(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	if r == '\n' || r == '\t' || r == nonJoiner || r == joiner {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

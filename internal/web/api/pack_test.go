package api

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/web/problem"
)

// modelBatch is what the plain model says of a batch.
type modelBatch struct {
	bodies []string
	end    int64
}

// model packs lines in the plainest way: the whole body is there, and each batch is built
// for each question that is asked of it. ended tells that the body has its end.
func model(body, topic string, limit int, numbered, ended bool) (batches []modelBatch, tooLong bool) {
	length := func(bodies []string) int {
		data := ""
		for _, b := range bodies {
			data += fmt.Sprintf("MSG %d\r\n%s\r\n", len(b), b)
		}
		line := fmt.Sprintf("BATCH %d %s 4294967295 %d", len(data), topic, len(bodies))
		if numbered {
			line += " pid=" + strings.Repeat("p", 32) + " seq=1234567890"
		}
		return len(line+"\r\n") + len(data)
	}
	var now modelBatch
	var end int64
	done := func() {
		if len(now.bodies) > 0 {
			batches = append(batches, now)
		}
		now = modelBatch{}
	}
	all := strings.SplitAfter(body, "\n")
	for _, line := range all {
		text, whole := strings.CutSuffix(line, "\n")
		if line == "" {
			break // behind the last LF
		}
		if length([]string{text}) > limit {
			// That it can't get shorter is clear also of one that is cut.
			if whole || ended || len(text) >= limit {
				done()
				return batches, true
			}
			break
		}
		if !whole && !ended {
			break // nobody knows what it is
		}
		end += int64(len(line))
		if length(append(now.bodies[:len(now.bodies):len(now.bodies)], text)) > limit {
			done()
		}
		now.bodies = append(now.bodies, text)
		now.end = end
	}
	if ended {
		done()
	}
	return batches, false
}

// pack packs a body that comes in pieces.
func pack(t *testing.T, f form, pieces []string, topic string, limit int64, numbered, ended bool) (batches []modelBatch, err error) {
	t.Helper()
	p := &packer{form: f, topic: topic, limit: limit, numbered: numbered, emit: func(b *packed) error {
		pid, seq := "", int64(0)
		if numbered {
			pid, seq = "p", 1
		}
		raw := b.b.FinishNumbered(topic, pid, seq)
		if int64(len(raw)) > limit {
			t.Errorf("a batch of %d bytes", len(raw))
		}
		h, n, err := batch.Parse(raw)
		if err != nil || n != int64(len(raw)) || h.Messages != b.messages || batch.Check(&h, raw[h.Len():]) != nil {
			t.Errorf("%q is no batch", raw)
		}
		m := batch.Messages{Data: raw[h.Len():]}
		got := modelBatch{end: b.end}
		for m.Next() {
			got.bodies = append(got.bodies, string(m.Body()))
			if last := m.Delta() == b.last; last != (int64(len(got.bodies)) == b.messages) {
				t.Errorf("the last of %d is at %d, not %d", b.messages, m.Delta(), b.last)
			}
		}
		batches = append(batches, got)
		return nil
	}}
	for _, piece := range pieces {
		if err = p.write([]byte(piece)); err != nil {
			return batches, err
		}
	}
	if ended {
		err = p.end()
	}
	return batches, err
}

func same(a, b []modelBatch) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].end != b[i].end || strings.Join(a[i].bodies, "\n") != strings.Join(b[i].bodies, "\n") || len(a[i].bodies) != len(b[i].bodies) {
			return false
		}
	}
	return true
}

// compare packs a body in pieces and compares what comes with the model.
func compare(t *testing.T, pieces []string, limit int, numbered, ended bool) {
	t.Helper()
	body := strings.Join(pieces, "")
	got, err := pack(t, lines, pieces, "orders", int64(limit), numbered, ended)
	want, tooLong := model(body, "orders", limit, numbered, ended)
	p, _ := errors.AsType[*problem.Problem](err)
	refused := p != nil && p.Kind == problem.TooLarge
	if body == "" && ended {
		if p == nil || p.Kind != problem.InvalidRequest {
			t.Errorf("of nothing: %v", err)
		}
		return
	}
	if !same(got, want) || refused != tooLong || err != nil && !refused {
		t.Fatalf("of %q in %d pieces, limit %d, numbered %v, ended %v:\ngot  %+v, %v\nwant %+v, too long %v", body, len(pieces), limit, numbered, ended, got, err, want, tooLong)
	}
}

// randomBody is lines of all lengths up to a bit more than fits.
func randomBody(r *rand.Rand, limit int) string {
	var b strings.Builder
	for range r.IntN(12) {
		n := r.IntN(8)
		switch r.IntN(8) {
		case 0:
			n = max(0, limit-r.IntN(90))
		case 1:
			n = r.IntN(limit + 20)
		case 2:
			n = 0
		}
		for range n {
			b.WriteByte("ab\r\x00\xff "[r.IntN(6)])
		}
		b.WriteByte('\n')
	}
	if r.IntN(2) == 0 {
		b.WriteString("tail"[:r.IntN(5)])
	}
	return b.String()
}

// TestPackAgainstModel: batches are a function of the bytes and the limit, however the
// bytes come.
func TestPackAgainstModel(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 1000
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range n {
		limit := 120 + r.IntN(300)
		body := randomBody(r, limit)
		var pieces []string
		for rest := body; rest != ""; {
			k := min(len(rest), 1+r.IntN(limit))
			if r.IntN(3) == 0 {
				k = min(len(rest), 1+r.IntN(3))
			}
			pieces, rest = append(pieces, rest[:k]), rest[k:]
		}
		compare(t, pieces, limit, r.IntN(2) == 0, r.IntN(4) > 0)
	}
}

// TestPackCut: of a body that is cut, at each byte of 4 KiB, no cut line is taken, and no
// batch that might have got another message.
func TestPackCut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var body strings.Builder
	for body.Len() < 4096 {
		body.WriteString(strings.Repeat("x", r.IntN(60)) + "\n")
	}
	text := body.String()[:4096]
	for cut := range len(text) + 1 {
		compare(t, []string{text[:cut]}, 512, cut%2 == 0, false)
	}
	if got, err := pack(t, lines, []string{text[:300]}, "orders", 512, false, false); len(got) > 0 || err != nil {
		t.Errorf("of a body that fits one batch and is cut: %+v, %v", got, err)
	}
}

// TestModelCatches: a packer that goes by how the bytes arrive, and one that takes what
// was cut, are not what the model says.
func TestModelCatches(t *testing.T) {
	pieces := []string{"one\ntwo\nth", "ree\nfour\nfi"}
	want, _ := model(strings.Join(pieces, ""), "orders", 512, false, false)
	for name, wrong := range map[string]func(*packer) error{
		"by arrival": (*packer).finish,
		"cut line":   (*packer).end,
	} {
		var got []modelBatch
		p := &packer{topic: "orders", limit: 512, emit: func(b *packed) error {
			got = append(got, modelBatch{make([]string, b.messages), b.end})
			return nil
		}}
		for i, piece := range pieces {
			if p.write([]byte(piece)); name == "by arrival" || i == 1 {
				wrong(p)
			}
		}
		if same(got, want) {
			t.Errorf("%s: not caught", name)
		}
	}
}

// TestPackForms: what a message is, by the form.
func TestPackForms(t *testing.T) {
	for _, test := range []struct {
		form form
		body string
		want string // with commas
		err  string
	}{
		{lines, "a\nb\n", "a,b", ""},
		{lines, "a\nb", "a,b", ""},
		{lines, "a\r\n\nb\r", "a\r,,b\r", ""},
		{lines, "\n", "", ""},
		{lines, "", "", "no message"},
		{whole, "a\nb\n", "a\nb\n", ""},
		{whole, "", "", "no message"},
		{whole, strings.Repeat("x", 2000), "", "The body is too long"},
		{lines, "a\n" + strings.Repeat("x", 2000), "a", "Line 2 is too long"},
		{objects, `{"body":"a"}` + "\n" + `{"body_base64":"/w=="}`, "a,\xff", ""},
		{objects, `{"topic":"t","id":"0.0","offset":0,"delta":0,"time":null,"body":""}` + "\n", "", ""},
		{objects, ` { "body" : "\u0041\n" } ` + "\n", "A\n", ""},
		{objects, `{"body":"a\ufffd` + "\ufffd" + `"}`, "a\ufffd\ufffd", ""},
		{objects, `{"body":"a"}` + "\n" + `{"body":"b"}` + "\n" + `{"x":1}`, "", `Line 3 has a key "x"`},
		{objects, `{"topic":"a"}`, "", "Line 1 has no body; to store the lines themselves send text/plain"},
		{objects, `{"body":"a","body_base64":"YQ=="}`, "", "has both"},
		{objects, `{"body":"a","body":"b"}`, "", "twice"},
		{objects, `{"body":1}`, "", "no text"},
		{objects, `{"body":"\ud800"}`, "", "no Unicode"},
		{objects, `{"body":null}`, "", "no text"},
		{objects, `{"body_base64":"a"}`, "", "body_base64 that is none"},
		{objects, `{"body_base64":"/x=="}`, "", "body_base64 that is none"},
		{objects, "{\"body\":\"\xff\"}", "", "not UTF-8"},
		{objects, `{"body":"a"} x`, "", "something follows"},
		{objects, `"a"`, "", "no JSON object"},
		{objects, `{"body":"a"`, "", "no JSON object"},
		{objects, "\n", "", "no JSON object"},
		{objects, `{"body":"a","time":[[[1]]]}`, "a", ""},
		{objects, `{"body":"` + strings.Repeat("y", 2000) + `"}`, "", "Line 1 is too long"},
	} {
		for piece := range 3 {
			var pieces []string
			switch piece {
			case 0:
				pieces = []string{test.body}
			case 1:
				for i := range len(test.body) {
					pieces = append(pieces, test.body[i:i+1])
				}
			case 2:
				pieces = []string{test.body[:len(test.body)/2], test.body[len(test.body)/2:]}
			}
			got, err := pack(t, test.form, pieces, "orders", 1000, false, true)
			var bodies []string
			for _, b := range got {
				bodies = append(bodies, b.bodies...)
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			if strings.Join(bodies, ",") != test.want || (err == nil) != (test.err == "") || !strings.Contains(text, test.err) {
				t.Errorf("%d %q: %q, %v; want %q, %q", test.form, test.body, bodies, err, test.want, test.err)
			}
		}
	}
}

// FuzzObjects: a line is taken as package json understands it, or refused.
func FuzzObjects(f *testing.F) {
	for _, line := range []string{`{"body":"a"}`, `{"body_base64":"YQ=="}`, `{"body":"\ud83d\ude00"}`, `{"body":"\ud800"}`, `{"id":"1.2","body":"x"}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		body, err := parseObject(line, 1)
		if err != nil {
			return
		}
		if bytes.IndexByte(line, '"') < 0 || len(body) > len(line) {
			t.Errorf("%q is %q", line, body)
		}
	})
}

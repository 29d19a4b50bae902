package exportfile

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
)

func raw(topic string, bodies ...string) []byte {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return bytes.Clone(b.Finish(topic))
}

func packed(topic string, bodies ...string) []byte {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	buf := codec.NewS2().Encode(make([]byte, batch.MaxHeaderLen), b.Data())
	return batch.Seal(buf, &batch.Header{Topic: []byte(topic), Messages: b.Messages(), Codec: codec.S2})
}

// sample is a file with a gap, a batch without a time, and a compressed one.
func sample(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{Topic: "t", ID: "0a1b", From: 100, To: 1000})
	if err != nil {
		t.Fatal(err)
	}
	offset := int64(100)
	for i, b := range [][]byte{raw("t", "one"), raw("t", "two", "MSG 3\r\n\r\n"), packed("t", strings.Repeat("three", 50))} {
		if err := w.Batch(offset, []int64{1795892405120, NoTime, 0}[i], b); err != nil {
			t.Fatal(err)
		}
		offset += int64(len(b)) + int64(i)*100
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestFormat holds the format to the byte.
func TestFormat(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{Topic: "orders", ID: "7b61d7f7c8c1a35b19ec6eb55bd14a2b", From: 0, To: 94})
	if err != nil {
		t.Fatal(err)
	}
	one, two := raw("orders", "hello"), raw("orders", "big", "")
	w.Batch(0, 1795892405120, one)
	w.Batch(44, NoTime, two)
	if s, err := w.Close(); err != nil || s != (Summary{2, 3, 94}) {
		t.Fatalf("%+v, %v", s, err)
	}
	const want = "logd-export 1\r\nTopic: orders\r\nId: 7b61d7f7c8c1a35b19ec6eb55bd14a2b\r\nFrom: 0\r\nTo: 94\r\n\r\n" +
		"AT 0 1795892405120\r\nBATCH 14 orders 1680380747 1\r\nMSG 5\r\nhello\r\n" +
		"AT 44 -\r\nBATCH 21 orders 612679646 2\r\nMSG 3\r\nbig\r\nMSG 0\r\n\r\n" +
		"END 2 3 94 "
	got, sum, _ := strings.Cut(out.String(), "END")
	if want, _, _ := strings.Cut(want, "END"); got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
	const wantEnd = " 2 3 94 c862133f6423e1a1744c2b79c6183d7c9ff34d0d070606bc1272c4d7f7af1969\r\n"
	if sum != wantEnd {
		t.Errorf("END%q, want END%q", sum, wantEnd)
	}
}

// read reads a file to its end.
func read(file []byte) (*Reader, []Batch, error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	return rest(r)
}

func rest(r *Reader) (*Reader, []Batch, error) {
	var all []Batch
	for {
		b, err := r.Next()
		if err == io.EOF {
			return r, all, nil
		} else if err != nil {
			return r, all, err
		}
		c := *b
		c.Raw, c.Data = bytes.Clone(b.Raw), bytes.Clone(b.Data)
		all = append(all, c)
	}
}

func TestRead(t *testing.T) {
	file := sample(t)
	r, all, err := read(file)
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %d batches", err, len(all))
	}
	if h := r.Header(); h != (Header{"t", "0a1b", 100, 1000}) || r.Position() != int64(len(file)) {
		t.Errorf("%+v, %d bytes", h, r.Position())
	}
	if s := r.Summary(); s.Batches != 3 || s.Messages != 4 {
		t.Errorf("%+v", s)
	}
	if all[1].Millis != NoTime || all[0].Millis != 1795892405120 || all[2].Offset <= all[1].Next() {
		t.Errorf("%+v", all)
	}
	if want := "MSG 250\r\n" + strings.Repeat("three", 50) + "\r\n"; string(all[2].Data) != want {
		t.Errorf("%q, want %q", all[2].Data, want)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("again: %v", err)
	}
}

// A file that is cut anywhere, or changed in any byte, is not taken.
func TestDamaged(t *testing.T) {
	file := sample(t)
	var damage *DamageError
	for i := range file {
		if _, _, err := read(file[:i]); !errors.As(err, &damage) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		for _, bit := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(file)
			changed[i] ^= bit
			if _, _, err := read(changed); !errors.As(err, &damage) {
				t.Fatalf("byte %d changed by %#x: %v", i, bit, err)
			}
		}
	}
	if _, _, err := read(append(bytes.Clone(file), '\n')); !errors.As(err, &damage) {
		t.Errorf("something behind the end: %v", err)
	}
	// What is well formed but not what the header says.
	for name, change := range map[string]func(w *Writer) error{
		"another topic": func(w *Writer) error { return w.Batch(100, 0, raw("u", "x")) },
		"before From":   func(w *Writer) error { return w.Batch(99, 0, raw("t", "x")) },
		"beyond To":     func(w *Writer) error { return w.Batch(999, 0, raw("t", "x")) },
		"no batch":      func(w *Writer) error { return w.Batch(100, 0, []byte("x")) },
		"two batches":   func(w *Writer) error { return w.Batch(100, 0, append(raw("t", "x"), raw("t", "y")...)) },
		"no messages": func(w *Writer) error {
			bad := batch.Seal(append(make([]byte, batch.MaxHeaderLen), "hello"...), &batch.Header{Topic: []byte("t"), Messages: 1, Codec: codec.S2})
			return w.Batch(100, 0, bad)
		},
	} {
		w, err := NewWriter(io.Discard, Header{Topic: "t", ID: "0a", From: 100, To: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if err := change(w); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestPartition(t *testing.T) {
	file := append(raw("t", "one"), raw("t", "two")...)
	r, err := NewPartitionReader(bytes.NewReader(file), 4096, int64(len(file)), "id")
	if err != nil {
		t.Fatal(err)
	}
	r, all, err := rest(r)
	if err != nil || len(all) != 2 || all[1].Offset != 4096+int64(len(all[0].Raw)) || all[1].Millis != NoTime {
		t.Fatalf("%+v, %v", all, err)
	}
	if h := r.Header(); h != (Header{"t", "id", 4096, 4096 + int64(len(file))}) {
		t.Errorf("%+v", h)
	}
	var damage *DamageError
	for _, bad := range []string{"", "hello", string(file[:len(file)-1]), string(file) + "x", string(file) + string(raw("u", "x")),
		strings.Replace(string(file), "two", "too", 1)} {
		r, err := NewPartitionReader(strings.NewReader(bad), 0, int64(len(bad)), "id")
		if err == nil {
			_, _, err = rest(r)
		}
		if !errors.As(err, &damage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzExport reads any bytes. What is taken for a file is written again as the same bytes.
func FuzzExport(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte("logd-export 1\r\nTopic: t\r\nId: 0\r\nFrom: 0\r\nTo: 0\r\n\r\nEND 0 0 0 e3b0\r\n"))
	f.Add(raw("t", "one"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if r, err := NewPartitionReader(bytes.NewReader(file), 0, int64(len(file)), "0"); err == nil {
			if _, all, err := rest(r); err == nil {
				var again []byte
				for _, b := range all {
					again = append(again, b.Raw...)
				}
				if !bytes.Equal(again, file) {
					t.Fatalf("%q is read as %q", file, again)
				}
			}
		}
		r, all, err := read(file)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := NewWriter(&out, r.Header())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			if err := w.Batch(b.Offset, b.Millis, b.Raw); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := w.Close(); err != nil || s != r.Summary() || !bytes.Equal(out.Bytes(), file) {
			t.Fatalf("%q is written again as %q, %+v, %v", file, out.Bytes(), s, err)
		}
	})
}

package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
)

// A journal of every version that ever was is read, and says what it said.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile("../testdata/golden/index1-journal1/damaged/journal")
	if err != nil {
		t.Fatal(err)
	}
	s, size, err := Decode(b)
	if err != nil || size != int64(len(b)) || !s.Clean || s.Synced == 0 || len(s.Damaged) != 1 || len(s.Ends) == 0 {
		t.Errorf("state %+v, %d of %d bytes, %v", s, size, len(b), err)
	}
}

// A range that is healed is set aside no longer, and what was counted without it does
// not count. The bytes of the record are part of the format.
func TestHealed(t *testing.T) {
	s := NewState()
	s.ID, s.Synced, s.Clean, s.Head = ID{1}, 900, true, Totals{Messages: 1, Batches: 1}
	s.Damaged = []layout.Range{{From: 20, To: 40}, {From: 250, To: 300}, {From: 500, To: 600}}
	s.Ends = map[int64]PartitionEnd{0: {End: 100}, 100: {End: 250}, 300: {End: 700}, 700: {End: 800}}
	whole := s.Encode()
	want := "\xd4\xc2\xaa\xcc\x0b\x00\x10\x00" + "\xfa\x00\x00\x00\x00\x00\x00\x00" + "\x26\x02\x00\x00\x00\x00\x00\x00"
	rec := Append(nil, Healed, 250, 550)
	if string(rec) != want {
		t.Errorf("record % x, want % x", rec, want)
	}
	s, size, err := Decode(append(whole, want...))
	if err != nil || size != int64(len(whole)+len(want)) || fmt.Sprint(s.Damaged) != "[{20 40} {550 600}]" || s.Clean || s.Synced != 900 {
		t.Errorf("state %+v, size %d, %v", s, size, err)
	}
	// 100 ends where the hole begins, and 300 has a part of it.
	if len(s.Ends) != 2 || s.Ends[0].End != 100 || s.Ends[700].End != 800 {
		t.Errorf("ends %v", s.Ends)
	}
	s.Head = Totals{} // of no clean end
	again, _, err := Decode(s.Encode())
	if err != nil || fmt.Sprint(again) != fmt.Sprint(s) {
		t.Errorf("encoded anew %+v, %v, want %+v", again, err, s)
	}
	if _, size, _ := Decode(Append(whole, Healed, 300, 300)); size != int64(len(whole)) {
		t.Error("an empty range is understood")
	}
}

// Newer, damaged and torn are told apart, and what stands before the place is
// understood.
func TestDecode(t *testing.T) {
	s := NewState()
	s.ID, s.Synced = ID{1}, 70
	whole := s.Encode()
	newer := append([]byte(nil), whole...)
	newer[8] = Version + 1
	binary.LittleEndian.PutUint32(newer[12:], crc32.ChecksumIEEE(newer[:12]))
	torn := Append(append([]byte(nil), whole...), Synced, 90)
	damaged := Append(append([]byte(nil), torn...), Synced, 100)
	damaged[len(torn)-1] ^= 1
	tests := []struct {
		name   string
		b      []byte
		synced int64
		err    error
	}{
		{"whole", whole, 70, nil},
		{"torn", torn[:len(torn)-1], 70, nil},
		{"damaged", damaged, 70, ErrDamaged},
		{"newer", newer, 0, ErrNewer},
		{"empty", nil, 0, nil},
		{"zeros", make([]byte, 50), 0, nil},
		{"another file", []byte("something else"), 0, ErrDamaged},
	}
	for _, test := range tests {
		if s, _, err := Decode(test.b); s.Synced != test.synced || !errors.Is(err, test.err) || fmt.Sprint(err) == "" {
			t.Errorf("%s: synced %d, %v; want %d, %v", test.name, s.Synced, err, test.synced, test.err)
		}
	}
}

// A journal is blank as long as nothing was stored in its topic, or removed.
func TestIsBlank(t *testing.T) {
	created := NewState()
	created.ID, created.Created = ID{1}, 1
	for name, b := range map[string][]byte{
		"empty": nil, "torn header": NewHeader()[:7], "header": NewHeader(), "created": created.Encode(),
	} {
		if !IsBlank(b) {
			t.Errorf("%s: not blank", name)
		}
	}
	for name, change := range map[string]func(*State){
		"synced":  func(s *State) { s.Synced = 70 },
		"cut":     func(s *State) { s.Cut = 0 },
		"trimmed": func(s *State) { s.Trimmed.Oldest = 70 },
		"end":     func(s *State) { s.Ends[0] = PartitionEnd{End: 70} },
		"damaged": func(s *State) { s.Damaged = []layout.Range{{From: 0, To: 70}} },
		"adopted": func(s *State) { s.Adopted = 0 },
		"due":     func(s *State) { s.Due = 70 },
	} {
		s := NewState()
		s.ID, s.Created = ID{1}, 1
		change(&s)
		if IsBlank(s.Encode()) {
			t.Errorf("%s: blank", name)
		}
	}
}

// The mark alone says that a topic is deleted: damage to a journal does not.
func TestDeletedMark(t *testing.T) {
	whole := NewHeader()
	marked := append([]byte(nil), whole...)
	marked[MarkAt] = DeletedMark
	if IsDeleted(whole) || !IsDeleted(marked) || !IsDeleted(append(marked, "and records"...)) {
		t.Error("the mark is not known")
	}
	for i := range marked {
		for bit := range 8 {
			b := append([]byte(nil), marked...)
			b[i] ^= 1 << bit
			if IsDeleted(b) {
				t.Errorf("with bit %d of byte %d flipped it is taken for the mark", bit, i)
			}
		}
		if IsDeleted(marked[:i]) {
			t.Errorf("%d bytes are taken for the mark", i)
		}
	}
}

// TestForgetDamage: of a range that reaches over a cut what is before it stays.
func TestForgetDamage(t *testing.T) {
	s := NewState()
	for _, r := range []layout.Range{{From: 10, To: 30}, {From: 40, To: 60}, {From: 70, To: 90}} {
		s.AddDamage(r)
	}
	s.Forget(0, 50)
	if want := []layout.Range{{From: 10, To: 30}, {From: 40, To: 50}}; !slices.Equal(s.Damaged, want) {
		t.Errorf("damaged %v, want %v", s.Damaged, want)
	}
	s.Forget(0, 30)
	if want := []layout.Range{{From: 10, To: 30}}; !slices.Equal(s.Damaged, want) {
		t.Errorf("damaged %v, want %v", s.Damaged, want)
	}
	s.Forget(20, 25)
	if want := []layout.Range{{From: 10, To: 25}}; !slices.Equal(s.Damaged, want) {
		t.Errorf("damaged %v, want %v", s.Damaged, want)
	}
}

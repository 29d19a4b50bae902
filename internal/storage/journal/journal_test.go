package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
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

// Newer, damaged and torn are told apart, and what stands before the place is
// understood.
func TestDecode(t *testing.T) {
	s := NewState()
	s.ID, s.Synced = ID{1}, 70
	whole := s.Encode()
	newer := append([]byte(nil), whole...)
	newer[8]++
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

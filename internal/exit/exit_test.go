package exit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
)

func TestClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	_, err = w.WriteString("data")
	if err := OutputError(fmt.Errorf("write: %w", err)); err != ErrQuiet {
		t.Errorf("data: %v, want ErrQuiet", err)
	}
	if n, err := (HelpWriter{w}).Write([]byte("help")); n != 4 || err != nil {
		t.Errorf("help: %d, %v", n, err)
	}
	w.Close()
	if _, err := (HelpWriter{w}).Write([]byte("help")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("help to a closed file: %v", err)
	}
}

func TestWith(t *testing.T) {
	err := fmt.Errorf("more: %w", With(Refused, io.ErrShortWrite))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != Refused || !errors.Is(err, io.ErrShortWrite) || e.Error() != io.ErrShortWrite.Error() {
		t.Errorf("%+v, %v", e, err)
	}
	if err := OutputError(io.ErrShortWrite); err != io.ErrShortWrite {
		t.Errorf("an error of another kind becomes %v", err)
	}
}

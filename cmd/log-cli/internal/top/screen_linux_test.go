package top

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// pseudoTerminal returns both ends of a terminal.
func pseudoTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { user.Close() })
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skip(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// A terminal is as it was after whatever end, also a panic.
func TestScreenIsGivenBack(t *testing.T) {
	state := func(f *os.File) *term.State {
		s, err := term.GetState(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, end := range map[string]func(s *screen){
		"close": func(s *screen) { s.close(); s.close() },
		"panic": func(s *screen) {
			defer func() { recover() }()
			defer s.close()
			panic("of the program")
		},
		"panic of a goroutine": func(s *screen) {
			defer func() { recover() }()
			defer s.closeIfPanics()
			panic("of a goroutine")
		},
	} {
		user, program := pseudoTerminal(t)
		before := state(program)
		s, err := openScreen(program, program)
		if err != nil {
			t.Fatal(err)
		}
		if reflect.DeepEqual(state(program), before) {
			t.Fatal("the terminal is not raw: this test would see nothing")
		}
		end(s)
		if !reflect.DeepEqual(state(program), before) {
			t.Errorf("%s: the terminal is not as it was", name)
		}
		out := make([]byte, len(enter+leave))
		if _, err := io.ReadFull(user, out); err != nil || string(out) != enter+leave {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

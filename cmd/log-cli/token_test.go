package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// TestTokenStaysHere: log-cli shows its token over plain TCP to no server that is not named
// as this machine, unless it is told to. The address of all networks is one of another
// name, and the connection to it is to this machine, so the test leaves that neither.
func TestTokenStaysHere(t *testing.T) {
	const token = "logd_the-token-of-this-test"
	for _, tc := range []struct {
		host string
		args []string
		code int
		sent bool
	}{
		{"0.0.0.0", nil, exit.Config, false},
		{"0.0.0.0", []string{"--plain-token"}, exit.Done, true},
		{"127.0.0.1", nil, exit.Done, true},
	} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan []byte)
		go func() { // a server that says OK to all
			var all []byte
			for {
				nc, err := l.Accept()
				if err != nil {
					heard <- all
					return
				}
				for line := make([]byte, 1024); ; {
					n, err := nc.Read(line)
					all = append(all, line[:n]...)
					if err != nil {
						break
					}
					for range bytes.Count(line[:n], []byte("\n")) {
						io.WriteString(nc, "OK\r\n")
					}
				}
				nc.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		cmd := exec.CommandContext(t.Context(), "log-cli", append([]string{"ping", "--host", tc.host + ":" + port}, tc.args...)...)
		cmd.Env = append(os.Environ(), cli.TokenEnv+"="+token)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		cmd.Run()
		l.Close()
		got := <-heard
		if code := cmd.ProcessState.ExitCode(); code != tc.code || bytes.Contains(got, []byte(token)) != tc.sent {
			t.Errorf("%s %q: exit code %d, %s, the server has heard %q", tc.host, tc.args, code, &stderr, got)
		}
		if !tc.sent && !strings.Contains(stderr.String(), "--plain-token") {
			t.Errorf("%s: %s", tc.host, &stderr)
		}
	}
}

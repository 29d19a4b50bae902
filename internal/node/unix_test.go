package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// askUnix sends a request to a unix socket and returns the first line of the answer.
func askUnix(t *testing.T, path, request string) string {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, request)
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestUnixSocket: it serves beside TCP, or alone; without TLS where TCP has it; and is gone
// when the node is. Who comes by it is who its process is.
func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "u")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "logd.sock")
	a := testkit.NewAuthority(t)
	cert, key := a.Issue(t, "server", []string{"127.0.0.1"})

	for name, change := range map[string]func(*config.Config){
		"alone":       func(c *config.Config) { c.Host = "" },
		"beside TCP":  func(c *config.Config) {},
		"beside TLS":  func(c *config.Config) { c.TLSCert, c.TLSKey = cert, key },
		"with a rule": func(c *config.Config) { c.AuthFile = uidFile(t, os.Getuid()) },
		"of nobody":   func(c *config.Config) { c.AuthFile = uidFile(t, os.Getuid()+1) },
	} {
		c := testConfig(t)
		c.UnixSocket, c.UnixMode = path, 0o600
		change(&c)
		n, err := Start(t.Context(), Options{Config: c, Version: "test"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if st, err := os.Lstat(path); err != nil || st.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("%s: the socket is %v, %v", name, st, err)
		}
		want := "OK 0 1"
		if name == "of nobody" {
			want = "ERR unauthorized"
		}
		if got := askUnix(t, path, testkit.Batch("t", "x")); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if alone := n.Addr().Network() == "unix"; alone != (name == "alone") {
			t.Errorf("%s: listens at %v", name, n.Addr())
		}
		if err := n.Shutdown(context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s: the socket is left behind: %v", name, err)
		}
	}
}

// uidFile makes a file of an identity that a user is, who may write and read t.
func uidFile(t *testing.T, uid int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.toml")
	text := fmt.Sprintf("version = 1\n[[identity]]\nname = \"me\"\nuids = [%d]\nallow = [\"read,write,create t\"]\n", uid)
	if _, err := auth.Parse(path, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

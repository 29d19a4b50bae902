package forward

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// need returns the path of a program that a test wants. Where it is not, the test is
// skipped, but not in CI, which installs it.
func need(t *testing.T, program string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s", program)
	}
	t.Skipf("there is no %s", program)
	return ""
}

// TestLogrotate has logrotate rotate a file in each of its ways, under a program that
// writes to it. Nothing is lost and nothing is stored twice; with copytruncate, but for
// what is written between the copy and the truncation, which nobody can know: so the
// program writes nothing meanwhile.
func TestLogrotate(t *testing.T) {
	logrotate := need(t, "logrotate")
	for _, way := range []string{
		"create", "create\ncompress\ndelaycompress", "nocreate", "copytruncate", "copytruncate\ncompress\ndelaycompress",
	} {
		t.Run(strings.ReplaceAll(way, "\n", " "), func(t *testing.T) {
			rng := random(t)
			s := begin(t, "--topic", "t", "--scan-interval", "50ms", "--rotated-wait", "200ms")
			path := filepath.Join(s.dir, "app.log")
			conf := filepath.Join(t.TempDir(), "rotate.conf")
			text := fmt.Sprintf("%s {\nrotate 1000\nsize 1\nmissingok\n%s\n}\n", path, way)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(s.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			s.forward("file:" + path + "*")
			truncates := strings.HasPrefix(way, "copytruncate")
			n := 0
			var f *os.File
			write := func(lines int) {
				t.Helper()
				if f == nil {
					var err error
					if f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for range lines {
					fmt.Fprintf(f, "w %d %s\n", n, strings.Repeat("x", rng.IntN(100)))
					n++
				}
			}
			for i := range times(12) {
				write(1 + rng.IntN(300))
				switch i % 4 {
				case 1: // down
					s.agent.kill()
				case 2:
					s.server.kill()
				}
				// What is compressed before it was read is lost: so it is read before.
				if strings.Contains(way, "compress") || truncates && i%4 != 1 {
					if i%4 == 1 {
						s.forward("file:" + path + "*")
					}
					if i%4 == 2 {
						s.serve()
					}
					await(t, "all is stored", func() bool { return s.count("t") >= int64(n) })
				}
				out, err := exec.Command(logrotate, "-f", "-s", filepath.Join(filepath.Dir(conf), "state"), conf).CombinedOutput()
				if err != nil {
					t.Fatalf("logrotate: %v\n%s", err, out)
				}
				write(rng.IntN(20)) // to the file that was rotated, as programs do
				if !truncates {
					f.Close()
					f = nil
				}
				if closed(s.agent.done) {
					s.forward("file:" + path + "*")
				}
				if closed(s.server.done) {
					s.serve()
				}
				if rng.IntN(2) == 0 {
					time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				}
			}
			await(t, "all is stored", func() bool { return s.count("t") >= int64(n) })
			if code := s.agent.stop(); code != 0 {
				t.Errorf("the agent ends with %d", code)
			}
			each(t, s.read("t"), map[string]int{"w": n})
			s.clean()
		})
	}
}

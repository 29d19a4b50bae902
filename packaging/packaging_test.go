// Package packaging has no code: it tests what is made of this folder.
package packaging

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/forward/settings"
)

// programs are those in the package.
var programs = []string{"logd", "log-cli", "log-forwarder"}

// need skips the test where a tool is missing, but not in CI.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", tool)
	}
	t.Skipf("%s is not installed", tool)
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

// TestDeb: the package has what it is to have, belongs to root, is the same byte for byte
// when it is made again, and its unit is a good one.
func TestDeb(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, tool := range []string{"dpkg-deb", "bash", "gzip"} {
		need(t, tool)
	}
	dir := t.TempDir()
	var debs [2]string
	for i, where := range []string{"one", "two"} {
		env := []string{"OUT=" + filepath.Join(dir, where), "SOURCE_DATE_EPOCH=1700000000", "RELEASE=1.2.3-rc1"}
		debs[i] = strings.TrimSpace(run(t, env, "deb/build"))
	}
	one, err := os.ReadFile(debs[0])
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(debs[1])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Error("the same source makes two packages")
	}
	if name := filepath.Base(debs[0]); !regexp.MustCompile(`^logd_1\.2\.3~rc1_[a-z0-9]+\.deb$`).MatchString(name) {
		t.Errorf("the package is called %s", name)
	}
	list := run(t, nil, "dpkg-deb", "-c", debs[0])
	for line := range strings.Lines(list) {
		if !strings.Contains(line, " root/root ") || !regexp.MustCompile(`^[d-]rw[x-]r-[x-]r-[x-] `).MatchString(line) {
			t.Errorf("owner or mode: %s", line)
		}
	}
	for _, name := range []string{
		"usr/bin/logd", "usr/bin/log-cli", "usr/bin/log-forwarder", "usr/lib/systemd/system/log-forwarder.service",
		"usr/share/logd/forwarder.toml", "usr/share/man/man1/log-forwarder.1.gz", "usr/share/bash-completion/completions/log-forwarder", "etc/logd/logd.toml", "usr/lib/systemd/system/logd.service", "usr/lib/systemd/system/logd.socket",
		"usr/share/man/man1/logd.1.gz", "usr/share/man/man1/log-cli-read.1.gz", "usr/share/doc/logd/copyright",
		"usr/share/logd/grafana.json", "usr/share/logd/alerts.yml", "usr/share/bash-completion/completions/logd",
		"usr/share/zsh/vendor-completions/_log-cli", "usr/share/fish/vendor_completions.d/logd.fish",
	} {
		if !strings.Contains(list, " ./"+name+"\n") {
			t.Errorf("the package does not have %s", name)
		}
	}
	root := filepath.Join(dir, "root")
	run(t, nil, "dpkg-deb", "-R", debs[0], root)
	if b, err := os.ReadFile(filepath.Join(root, "DEBIAN/conffiles")); err != nil || string(b) != "/etc/logd/logd.toml\n" {
		t.Errorf("conffiles: %q, %v", b, err)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, nil, "sh", "-n", filepath.Join(root, "DEBIAN", script))
	}
	for _, program := range programs {
		f, err := elf.Open(filepath.Join(root, "usr/bin", program))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", program)
			}
		}
		f.Close()
	}
	if out := run(t, nil, filepath.Join(root, "usr/bin/logd"), "version"); !strings.HasPrefix(out, "logd 1.2.3-rc1 ") {
		t.Errorf("version %q", out)
	}
	for shell, args := range map[string][]string{
		"bash": {"-n", "usr/share/bash-completion/completions/"}, "zsh": {"-n", "usr/share/zsh/vendor-completions/_"},
		"fish": {"--no-execute", "usr/share/fish/vendor_completions.d/"},
	} {
		if _, err := exec.LookPath(shell); err != nil {
			continue // what it says is the library's
		}
		for _, program := range programs {
			name := filepath.Join(root, args[1]) + "/" + program
			if strings.HasSuffix(args[1], "_") {
				name = filepath.Join(root, args[1]+program)
			}
			if shell == "fish" {
				name += ".fish"
			}
			run(t, nil, shell, args[0], name)
		}
	}
	t.Run("alone in an empty root", func(t *testing.T) { alone(t, root) })
	t.Run("unit", func(t *testing.T) {
		need(t, "systemd-analyze")
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+root, "logd.service", "logd.socket", "log-forwarder.service").CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// Of the rest of a system there is nothing in this root.
			if !regexp.MustCompile(`Unit \S+ not found|Command /bin/kill is not executable`).MatchString(line) && (strings.Contains(line, "logd.") || strings.Contains(line, "log-forwarder")) {
				t.Errorf("%v: %s", err, line)
			}
		}
	})
}

// alone starts the programs in a root that has nothing else, as the image has it.
func alone(t *testing.T, deb string) {
	if os.Getuid() != 0 {
		t.Skip("chroot is for root")
	}
	root := t.TempDir()
	for _, name := range programs {
		b, err := os.ReadFile(filepath.Join(deb, "usr/bin", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"/logd", "version"}, {"/logd", "config", "check"}, {"/log-cli", "version"}, {"/log-forwarder", "config", "check", "--topic", "a"}} {
		// Without the environment: what tests are told by LOGD_ is no setting.
		run(t, nil, "env", append([]string{"-i", "PATH=" + os.Getenv("PATH"), "chroot", "--userspec=65532:65532", root}, args...)...)
	}
}

// TestDockerfile: what the image is made of is there, and its instructions say what they
// are to say.
func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, line := range []string{
		"FROM scratch", "COPY logd log-cli log-forwarder /", "COPY --chown=65532:65532 data /data", "USER 65532:65532", "VOLUME /data",
		`ENTRYPOINT ["/logd"]`, "ENV LOGD_WORKDIR=/data/logs",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the Dockerfile does not have %s", line)
		}
	}
	if !regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD \["/log-cli", "ping"\]$`).MatchString(text) {
		t.Error("the Dockerfile has no HEALTHCHECK by log-cli ping")
	}
	// What COPY takes is what "make docker" puts there.
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"go build -trimpath -o bin/ ./cmd/...", "mkdir -p bin/data", "docker build -t logd -f packaging/Dockerfile bin"} {
		if !strings.Contains(string(makefile), line) {
			t.Errorf("the Makefile does not have %s", line)
		}
	}
	if strings.Contains(text, "LOGD_HOST=") || strings.Contains(text, "LOGD_HTTP_HOST=") {
		t.Error("the image listens elsewhere than on loopback")
	}
}

// TestConfiguration: the file that is installed is a good one.
func TestConfiguration(t *testing.T) {
	c, _, err := config.Load(config.Sources{File: "logd.toml"})
	if err != nil {
		t.Fatal(err)
	}
	if c.WorkDir != "/var/lib/logd" {
		t.Errorf("workdir %s", c.WorkDir)
	}
	unit, err := os.ReadFile("logd.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "User=logd", "StateDirectory=logd", "StateDirectoryMode=0700", "RuntimeDirectory=logd", "WatchdogSec=30", "Restart=on-failure",
		"RestartPreventExitStatus=2 78", "LimitNOFILE=65536", "UMask=0077", "Environment=GOTRACEBACK=crash", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict",
		"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "SystemCallFilter=@system-service", "MemoryDenyWriteExecute=yes",
	} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit does not have %s", line)
		}
	}
}

// TestForwarder: the example of settings is a good one, and the unit says what it is to say.
func TestForwarder(t *testing.T) {
	c, err := settings.Load(settings.Sources{File: "forwarder.toml", Env: []string{"STATE_DIRECTORY=/var/lib/log-forwarder"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Inputs) != 3 {
		t.Errorf("%d inputs", len(c.Inputs))
	}
	unit, err := os.ReadFile("log-forwarder.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "DynamicUser=yes", "SupplementaryGroups=adm systemd-journal", "StateDirectory=log-forwarder", "StateDirectoryMode=0700",
		"RuntimeDirectory=log-forwarder", "WatchdogSec=30", "Restart=on-failure", "RestartPreventExitStatus=2 78", "Environment=GOTRACEBACK=crash",
		"NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "SystemCallFilter=@system-service", "MemoryDenyWriteExecute=yes",
		"ConditionPathExists=/etc/logd/forwarder.toml",
	} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit does not have %s", line)
		}
	}
}

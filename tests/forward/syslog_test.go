package forward

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLogger takes what logger sends over a socket as /dev/log is, over UDP and over TCP,
// and names topics after the programs.
func TestLogger(t *testing.T) {
	logger := need(t, "logger")
	udp, tcp := port(t), port(t)
	s := begin(t, "--topic", "syslog-{app}")
	sock := filepath.Join(s.dir, "log")
	s.forward("syslog+unixgram:"+sock, "syslog+udp://"+udp, "syslog+tcp://"+tcp)
	host, udpPort, _ := net.SplitHostPort(udp)
	_, tcpPort, _ := net.SplitHostPort(tcp)
	for way, args := range map[string][]string{
		"dgram":   {"--socket", sock},
		"udp":     {"--udp", "--server", host, "--port", udpPort},
		"udp3164": {"--udp", "--rfc3164", "--server", host, "--port", udpPort},
		"tcp":     {"--tcp", "--server", host, "--port", tcpPort},
		"octets":  {"--tcp", "--octet-count", "--server", host, "--port", tcpPort},
	} {
		args = append(args, "--tag", way, "--priority", "user.notice", "hello from "+way)
		if out, err := exec.Command(logger, args...).CombinedOutput(); err != nil {
			t.Fatalf("logger %q: %v\n%s", args, err, out)
		}
		topic := "syslog-" + way
		await(t, topic+" has its message", func() bool { return s.count(topic) == 1 })
		if got := s.read(topic); !strings.Contains(got[0], "hello from "+way) || !strings.HasPrefix(got[0], "<13>") {
			t.Errorf("%s: %q is stored", way, got)
		}
	}
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	s.clean()
}

// TestRsyslog takes what rsyslogd forwards from a file over TCP.
func TestRsyslog(t *testing.T) {
	rsyslogd := need(t, "rsyslogd")
	tcp := port(t)
	s := begin(t, "--topic", "t")
	s.forward("syslog+tcp://" + tcp)
	host, p, _ := net.SplitHostPort(tcp)
	dir := t.TempDir()
	text := fmt.Sprintf(`global(workDirectory="%s")
module(load="imfile")
input(type="imfile" file="%s/in.log" tag="app:" facility="local0")
*.* action(type="omfwd" target="%s" port="%s" protocol="tcp" TCP_Framing="octet-counted" queue.type="linkedList" action.resumeRetryCount="-1")
`, dir, dir, host, p)
	conf := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(rsyslogd, "-n", "-iNONE", "-f", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	f, err := os.OpenFile(filepath.Join(dir, "in.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const n = 500
	for i := range n {
		fmt.Fprintf(f, "w %d\n", i)
	}
	await(t, "all is stored", func() bool { return s.count("t") >= n })
	var got []string
	for _, line := range s.read("t") {
		_, body, _ := strings.Cut(line, "app: ")
		got = append(got, body)
	}
	sequence(t, got, map[string]int{"w": n})
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	s.clean()
}

// TestFlood sends datagrams while the server is away and the spool is full: no call waits
// for long, and what was sent is stored or counted as a hole.
func TestFlood(t *testing.T) {
	s := begin(t, "--topic", "t", "--spool-bytes", "1MiB", "--memory", "1MiB")
	sock := filepath.Join(s.dir, "log")
	s.forward("syslog+unixgram:" + sock)
	s.server.kill()
	nc, err := net.Dial("unixgram", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	longest := time.Duration(0)
	const n = 3000
	body := strings.Repeat("x", 1000)
	for i := range n {
		began := time.Now()
		if _, err := fmt.Fprintf(nc, "<13>app: %d %s", i, body); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	s.serve()
	var stored, lost int64
	await(t, "all that was sent is stored or a hole", func() bool {
		stored, lost = s.count("t"), 0
		_, lines, _ := s.audit()
		for _, l := range lines {
			for _, h := range l.Holes {
				lost += h.Messages
			}
		}
		return stored+lost == n
	})
	if stored == 0 || lost == 0 {
		t.Errorf("%d are stored, %d dropped", stored, lost)
	}
	t.Logf("%d stored, %d dropped; the longest call took %v", stored, lost, longest)
	if longest > time.Second { // the machine may be busy: 10 ms where it is not
		t.Errorf("a call took %v", longest)
	}
	if code, _, _ := s.audit(); code != 4 {
		t.Errorf("audit of dropped messages ends with %d", code)
	}
}

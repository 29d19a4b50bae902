package forward

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fakeJournal is a journalctl whose journal is the file "journal" beside it. An entry's
// cursor is its number. The program ends by itself now and then, as it does when the
// journal is rotated.
const fakeJournal = `#!/bin/sh
after=0 follow=
for a in "$@"; do
	case $a in
	--after-cursor=*) after=${a#--after-cursor=} ;;
	-f) follow=1 ;;
	esac
done
cd "$(dirname "$0")" || exit 1
if [ -n "$follow" ]; then
	timeout 1 tail -n +$((after + 1)) -f journal
else
	tail -n +$((after + 1)) journal
fi
`

// TestJournal kills the agent under a journal, whose reader ends by itself, too: each
// entry is stored once and in order, in the topic of its program.
func TestJournal(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(fakeJournal), 0o700); err != nil {
		t.Fatal(err)
	}
	journal, err := os.OpenFile(filepath.Join(bin, "journal"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	n := 0
	write := func(entries int) {
		t.Helper()
		for range entries {
			e := map[string]any{
				"__CURSOR": fmt.Sprint(n + 1), "__SEQNUM": fmt.Sprint(n + 1), "__SEQNUM_ID": "x", "__REALTIME_TIMESTAMP": "1700000000000000",
				"SYSLOG_IDENTIFIER": fmt.Sprint("p", n%3), "PRIORITY": "6", "MESSAGE": fmt.Sprintf("p%d %d", n%3, n/3),
			}
			line, err := json.Marshal(e)
			if err == nil {
				_, err = journal.Write(append(line, '\n'))
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := begin(t, "--topic", "j-{app}")
	write(90)
	s.forward("journald:")
	for i := range times(5) {
		write(60)
		time.Sleep(time.Duration(i*50) * time.Millisecond)
		switch i % 3 {
		case 0:
			s.agent.kill()
			s.forward("journald:")
		case 1:
			s.server.kill()
			write(30)
			s.agent.kill()
			s.serve()
			s.forward("journald:")
		}
	}
	await(t, "all is stored", func() bool { return s.count("j-p0")+s.count("j-p1")+s.count("j-p2") >= int64(n) })
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	for i := range 3 {
		name := fmt.Sprint("p", i)
		sequence(t, s.read("j-"+name), map[string]int{name: (n + 2 - i) / 3})
	}
	s.clean()
}

// TestNoJournal says with which code the agent ends where there is no journalctl.
func TestNoJournal(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s := begin(t, "--topic", "j")
	p := launch(t, "log-forwarder", "--host", s.addr, "--state-dir", s.state, "--http-host", "", "--topic", "j", "journald:")
	if code := p.wait(); code != 78 {
		t.Errorf("code %d: %s", code, p.log())
	}
}

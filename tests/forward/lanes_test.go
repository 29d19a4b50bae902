package forward

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

// get returns what the agent answers to a path.
func (s *scene) get(path string) (code int, body string) {
	s.t.Helper()
	r, err := http.Get("http://" + s.http + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestLanes has eight files delivered alone, and then beside a topic that the server
// refuses, one with messages that it finds too large, and one that is slow because its
// messages come one by one: all eight get all, and as fast as they were alone, or nearly.
func TestLanes(t *testing.T) {
	const lanes = 8
	count := 20000
	run := func(beside bool) time.Duration {
		t.Helper()
		s := &scene{t: t, dir: t.TempDir(), work: t.TempDir(), state: t.TempDir(), addr: port(t), http: port(t)}
		s.more = []string{"--topics-whitelist", "good-0,good-1,good-2,good-3,good-4,good-5,good-6,good-7,big,slow"}
		s.serve()
		var err error
		if s.client, err = logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}}); err != nil {
			t.Fatal(err)
		}
		defer s.client.Close()
		for i := range lanes {
			lines(t, filepath.Join(s.dir, fmt.Sprintf("good-%d.log", i)), 0, count)
		}
		stop := make(chan struct{})
		done := make(chan struct{})
		if beside {
			lines(t, filepath.Join(s.dir, "bad.log"), 0, count)
			big, err := os.Create(filepath.Join(s.dir, "big.log"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				fmt.Fprintf(big, "w %d\n", i)
				if i%20 == 10 {
					fmt.Fprintln(big, strings.Repeat("b", 100<<10))
				}
			}
			big.Close()
			go func() {
				defer close(done)
				for i := 0; !closed(stop); i++ {
					lines(t, filepath.Join(s.dir, "slow.log"), i, i+1)
					time.Sleep(20 * time.Millisecond)
				}
			}()
		} else {
			close(done)
		}
		began := time.Now()
		s.flags = []string{"--topic", "{base}", "--fallback-topic", "bad", "--scan-interval", "50ms", "--batch-size", "1MiB", "--max-line", "200000"}
		s.forward("file:" + s.dir + "/*.log")
		await(t, "the eight are stored", func() bool {
			for i := range lanes {
				if s.count(fmt.Sprintf("good-%d", i)) < int64(count) {
					return false
				}
			}
			return true
		})
		took := time.Since(began)
		if beside {
			await(t, "all but what is too large is stored", func() bool { return s.count("big") >= 200 && s.count("slow") > 0 })
			sequence(t, s.read("big"), map[string]int{"w": 200})
			await(t, "it is told why it is not ready", func() bool {
				code, why := s.get("/readyz")
				return code == http.StatusServiceUnavailable && strings.Contains(why, "topic bad is refused")
			})
			if _, m := s.get("/metrics"); !strings.Contains(m, `logd_forwarder_lane_state{state="refused",topic="bad"} 1`) {
				t.Error("the metrics do not show the refused lane")
			}
			await(t, "the holes are written down", func() bool {
				_, all, _ := s.audit()
				n := int64(0)
				for _, l := range all {
					for _, h := range l.Holes {
						if h.Kind == "refused" {
							n += h.Messages
						}
					}
				}
				return n == 10
			})
		}
		close(stop)
		<-done
		for i := range lanes {
			sequence(t, s.read(fmt.Sprintf("good-%d", i)), map[string]int{"w": count})
		}
		s.agent.kill()
		s.server.kill()
		return took
	}
	// The machine has other things to do: the best of three tells more than the mean.
	var alone, beside []time.Duration
	for range 3 {
		alone, beside = append(alone, run(false)), append(beside, run(true))
	}
	ratio := slices.Min(alone).Seconds() / slices.Min(beside).Seconds()
	t.Logf("alone %v, beside %v: %.2f of the speed", alone, beside, ratio)
	if ratio < 0.5 { // 0.8 where nothing else runs; one that waits for another is at a tenth
		t.Errorf("eight lanes have %.2f of the speed that they have alone", ratio)
	}
}

// TestStatus asks a running agent how it goes, while all is well and while the server is
// away.
func TestStatus(t *testing.T) {
	s := begin(t, "--topic", "t", "--scan-interval", "50ms")
	path := filepath.Join(s.dir, "app.log")
	lines(t, path, 0, 100)
	s.forward("file:" + path)
	await(t, "all is stored", func() bool { return s.count("t") == 100 })
	await(t, "it is ready", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK })
	if code, _ := s.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d", code)
	}
	await(t, "there is no lag", func() bool { _, all := s.get("/sources"); return strings.Contains(all, `"lag_bytes":0,`) })
	_, all := s.get("/sources")
	if !strings.Contains(all, path) || !strings.Contains(all, `"topic":"t"`) {
		t.Errorf("/sources: %s", all)
	}
	_, metrics := s.get("/metrics")
	for _, want := range []string{`taken_messages_total{input=`, `stored_messages_total{input=`, `server_connected 1`, `lane_state{state="ok",topic="t"} 1`} {
		if !strings.Contains(metrics, "logd_forwarder_"+want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	if strings.Contains(metrics, path) {
		t.Error("a file's name is a label")
	}
	status := func() (string, int) {
		cmd := exec.Command(filepath.Join(built, "log-forwarder"), "status", "--http-host", s.http, "--host", s.addr)
		cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH")}, s.dir
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := status(); code != 0 || !strings.Contains(out, path) || strings.Contains(out, "not ready") {
		t.Errorf("status ends with %d: %s", code, out)
	}

	s.server.kill()
	lines(t, path, 100, 200)
	await(t, "it is told that the server is away", func() bool {
		code, why := s.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(why, "the server can't be reached since")
	})
	if out, _ := status(); !strings.Contains(out, "not ready: the server can't be reached") {
		t.Errorf("status: %s", out)
	}
	if code, _ := s.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d: a server that is away is no reason to restart the agent", code)
	}
	s.serve()
	await(t, "it is ready again", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK && s.count("t") == 200 })
	s.agent.stop()
	if _, code := status(); code == 0 {
		t.Error("status of an agent that does not run ends with 0")
	}
}

// TestOnce reads to the present end and exits: with what there is, and with nothing to
// store it in.
func TestOnce(t *testing.T) {
	s := begin(t)
	path := filepath.Join(s.dir, "app.log")
	once := func(addr string, inputs ...string) int {
		t.Helper()
		args := []string{"--once", "--host", addr, "--topic", "t", "--state-dir", s.state, "--http-host", "", "--timeout", "500ms"}
		p := launch(t, "log-forwarder", append(args, inputs...)...)
		return p.wait()
	}
	n := 0
	for range 3 {
		lines(t, path, n, n+500)
		n += 500
		if code := once(s.addr, "file:"+path); code != 0 {
			t.Errorf("code %d", code)
		}
		sequence(t, s.read("t"), map[string]int{"w": n})
	}
	lines(t, path, n, n+10)
	if code := once(port(t), "file:"+path); code != 75 {
		t.Errorf("without a server: code %d", code)
	}
	if code := once(s.addr, "file:"+path); code != 0 {
		t.Errorf("with what is left: code %d", code)
	}
	sequence(t, s.read("t"), map[string]int{"w": n + 10})
	if code := once(s.addr, "syslog+udp://"+port(t)); code != 2 {
		t.Errorf("of an input without an end: code %d", code)
	}
	s.clean()
}

package forward

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKill kills the agent under four files, a sender of MSG who wants to know what is
// safe, and one over HTTP, and the server every third time: nothing that is safe or in a
// file is lost, and nothing is stored twice.
func TestKill(t *testing.T) {
	rng := random(t)
	s := begin(t)
	sock, web := filepath.Join(s.dir, "msg.sock"), port(t)
	s.flags = []string{"--config", filepath.Join(s.dir, "forwarder.toml")}
	settings := fmt.Sprintf(`
[[input]]
name = "files"
from = "file:%s/*.log"
topic = "files"
scan-interval = "50ms"
[[input]]
name = "msg"
from = "msg+unix:%s"
topic = "msg"
[[input]]
name = "web"
from = "http://%s"
topic = "web"
`, s.dir, sock, web)
	if err := os.WriteFile(filepath.Join(s.dir, "forwarder.toml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.forward()

	stop := make(chan struct{})
	var writers sync.WaitGroup
	wrote := make([]int, 4)
	for i := range wrote {
		f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("%d.log", i)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		writers.Go(func() {
			for !closed(stop) {
				for range 20 {
					fmt.Fprintf(f, "w%d %d %s\n", i, wrote[i], strings.Repeat("x", wrote[i]%90))
					wrote[i]++
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	var safeMsg, safeWeb sync.Map
	var sentMsg, sentWeb atomic.Int64
	writers.Go(func() {
		for !closed(stop) {
			sendMsg(sock, &sentMsg, &safeMsg, stop)
			time.Sleep(5 * time.Millisecond)
		}
	})
	client := &http.Client{Timeout: 5 * time.Second}
	writers.Go(func() {
		for !closed(stop) {
			n := sentWeb.Add(1) - 1
			r, err := client.Post("http://"+web+"/lines", "text/plain", strings.NewReader(fmt.Sprintf("h %d\n", n)))
			if err == nil {
				if r.StatusCode == http.StatusOK {
					safeWeb.Store(n, true)
				}
				r.Body.Close()
			}
			time.Sleep(time.Millisecond)
		}
	})

	for i := range times(12) {
		time.Sleep(time.Duration(rng.Int64N(int64(150 * time.Millisecond))))
		if i%3 == 2 {
			s.server.kill()
			if rng.IntN(2) == 0 {
				time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
			}
			s.serve()
			continue
		}
		s.agent.kill()
		s.forward()
	}
	await(t, "senders were told of enough", func() bool { return size(&safeMsg) >= 50 && size(&safeWeb) >= 50 })
	close(stop)
	writers.Wait()
	total := int64(wrote[0] + wrote[1] + wrote[2] + wrote[3])
	await(t, "all lines of the files are stored", func() bool { return s.count("files") >= total })
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	sequence(t, s.read("files"), map[string]int{"w0": wrote[0], "w1": wrote[1], "w2": wrote[2], "w3": wrote[3]})
	for topic, safe := range map[string]*sync.Map{"msg": &safeMsg, "web": &safeWeb} {
		got := map[int64]int{}
		last := int64(-1)
		for _, line := range s.read(topic) {
			_, number, _ := strings.Cut(line, " ")
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				t.Fatalf("%q is stored", line)
			}
			if got[n]++; got[n] > 1 {
				t.Errorf("%s %d is stored twice", topic, n)
			}
			if n < last && topic == "msg" {
				t.Errorf("%s %d is stored behind %d", topic, n, last)
			}
			last = n
		}
		safe.Range(func(n, _ any) bool {
			if got[n.(int64)] == 0 {
				t.Errorf("%s %d was told to be safe and is lost", topic, n)
			}
			return true
		})
	}
	s.clean()
}

// size returns how many keys a map has.
func size(m *sync.Map) (n int) {
	m.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// sendMsg sends over one connection until it ends, and notes what it is told to be safe.
func sendMsg(sock string, sent *atomic.Int64, safe *sync.Map, stop <-chan struct{}) {
	nc, err := net.DialTimeout("unix", sock, time.Second)
	if err != nil {
		return
	}
	defer nc.Close()
	if _, err := fmt.Fprint(nc, "ACK\r\n"); err != nil {
		return
	}
	in := bufio.NewReader(nc)
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := in.ReadString('\n'); err != nil || line != "OK 0\r\n" {
		return
	}
	first := sent.Load()
	done := make(chan struct{})
	go func() {
		defer close(done)
		told := int64(0)
		for {
			nc.SetReadDeadline(time.Now().Add(5 * time.Second))
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(line, "OK "), "\r\n"), 10, 64)
			if err != nil {
				return
			}
			for ; told < n; told++ {
				safe.Store(first+told, true)
			}
		}
	}()
	for !closed(stop) && !closed(done) {
		n := sent.Add(1) - 1
		body := fmt.Sprint("m ", n)
		if _, err := fmt.Fprintf(nc, "MSG %d\r\n%s\r\n", len(body), body); err != nil {
			break
		}
		if n%10 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if closed(stop) {
		fmt.Fprint(nc, "CLOSE\r\n")
		<-done
	}
}

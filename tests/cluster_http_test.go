package tests

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClusterHTTPRedirect: a client that follows redirects, and shows its token where it is
// sent, can write by any member, as with curl -L --location-trusted. With a key each of its
// requests is stored once, at the leader, whoever is killed meanwhile. A client that shows
// its token only to whom it was given for is not let in by the leader: no member passes it on.
func TestClusterHTTPRedirect(t *testing.T) {
	t.Parallel()
	c := makeCluster(t, newLoopback(), shortTimeout)
	const token = "a-token-of-the-test"
	rules := filepath.Join(c.dir, "auth.toml")
	text := fmt.Sprintf("version = 1\n[[identity]]\nname = \"app\"\ntokens = [\"sha256:%x\"]\nallow = [\"write,create *\"]\n"+
		"[[identity]]\nname = \"anonymous\"\nallow = [\"read,monitor *\"]\n", sha256.Sum256([]byte(token)))
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	url := func(m *member) string { return "http://" + m.ip + ":1780" }
	c.equip = func(m *member) { m.flags = []string{"--http-advertise", url(m), "--auth-file", rules} }
	c.run(3)
	c.eventually("all say where their HTTP is", func() bool {
		rows := c.table("CLUSTER")
		for _, row := range rows {
			if row["http"] != "http://"+strings.TrimSuffix(row["addr"], ":1774")+":1780" {
				return false
			}
		}
		return len(rows) == 3
	})

	var passed []string // where the last request of trusting was made
	trusting := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		r.Header.Set("Authorization", via[0].Header.Get("Authorization"))
		passed = append(passed, r.URL.Scheme+"://"+r.URL.Host)
		if len(via) == 5 {
			return http.ErrUseLastResponse // two members each take the other for the leader, for a moment
		}
		return nil
	}}
	defer trusting.CloseIdleConnections()
	post := func(client *http.Client, at *member, n int) (status int, answer map[string]any, err error) {
		passed = nil
		body := fmt.Sprintf("%d a\n%d b\n", n, n)
		r, err := http.NewRequest("POST", url(at)+"/api/v1/topics/orders/messages?require=replicated", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("Idempotency-Key", fmt.Sprint("order ", n))
		resp, err := client.Do(r)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&answer)
		return resp.StatusCode, answer, err
	}

	// By a follower, to the leader, once.
	c.eventually("a message is stored", func() bool {
		status, _, err := post(trusting, c.members[0], 0)
		return err == nil && status == 200
	})
	leader, follower := c.leader("orders"), c.follower("orders")
	status, answer, err := post(trusting, follower, 1)
	if err != nil || status != 200 || answer["duplicate"] != false || len(passed) != 1 || passed[0] != url(leader) {
		t.Errorf("by a follower: %d %v by way of %v, %v", status, answer, passed, err)
	}
	first := answer["first"]
	for _, m := range c.members {
		if status, answer, err := post(trusting, m, 1); err != nil || status != 200 || answer["duplicate"] != true || answer["first"] != first {
			t.Errorf("again, by %s: %d %v, %v", m, status, answer, err)
		}
	}

	// Without the token where it is sent to: Go's client shows it to no other host.
	plain := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer plain.CloseIdleConnections()
	if status, answer, err := post(plain, follower, 2); err != nil || status != 401 {
		t.Errorf("by a client that does not trust the leader: %d %v, %v", status, answer, err)
	}

	// While who leads is killed, and comes back. Each request is made until it is answered.
	const requests = 60
	for n := 2; n < requests; n++ {
		if n%15 == 5 {
			leader := c.leader("orders")
			leader.kill()
			defer func() {
				if !leader.running() {
					leader.start()
				}
			}()
		}
		at := n
		c.eventually("a message is stored", func() bool {
			at++
			m := c.members[at%len(c.members)]
			if !m.running() {
				return false
			}
			status, answer, err := post(trusting, m, n)
			switch {
			case err != nil, status == 503, status == 504, status == 307: // ask another member
				return false
			case status == 421:
				t.Errorf("421 by way of %v, and all have http-advertise: %v", passed, answer)
			case status != 200:
				t.Fatalf("%d %v", status, answer)
			}
			return true
		})
		if n%15 == 12 {
			for _, m := range c.members {
				if !m.running() {
					m.start()
				}
			}
		}
	}
	for _, m := range c.members {
		if !m.running() {
			m.start()
		}
	}

	// Each of them is there once, in order, by any member.
	for _, m := range c.members {
		var resp *http.Response
		c.eventually("an answer to a fresh read", func() (ok bool) { // 503 as long as nobody leads
			var err error
			if resp, err = plain.Get(url(m) + "/api/v1/topics/orders/messages?fresh=1&format=text"); err != nil {
				return false
			}
			if resp.StatusCode != 200 {
				resp.Body.Close()
			}
			return resp.StatusCode == 200
		})
		lines := bufio.NewScanner(resp.Body)
		for n := range requests {
			for _, half := range []string{"a", "b"} {
				want := fmt.Sprintf("%d %s", n, half)
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("at %s: %q, want %q", m, lines.Text(), want)
				}
			}
		}
		rest, _ := io.ReadAll(resp.Body)
		if lines.Scan() || len(rest) > 0 {
			t.Errorf("at %s there is more: %q %q", m, lines.Text(), rest)
		}
		resp.Body.Close()
	}
}

package forward

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestAway says that the agent is not ready while the server is away, also if there is
// nothing to send, and ready again when it is back.
func TestAway(t *testing.T) {
	if testing.Short() {
		t.Skip("the server has to be away for ten seconds")
	}
	s := begin(t, "--topic", "t")
	s.forward("file:" + filepath.Join(s.dir, "*.log"))
	ready := func() (int, string) {
		r, err := http.Get("http://" + s.http + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	await(t, "it is ready", func() bool { code, _ := ready(); return code == http.StatusOK })
	s.server.kill()
	why := ""
	await(t, "it is not ready", func() bool {
		var code int
		code, why = ready()
		return code == http.StatusServiceUnavailable
	})
	if !strings.Contains(why, "the server can't be reached") {
		t.Errorf("not ready: %s", why)
	}
	s.serve()
	await(t, "it is ready again", func() bool { code, _ := ready(); return code == http.StatusOK })
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
}

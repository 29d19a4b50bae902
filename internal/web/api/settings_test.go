package api_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestSettings: the settings of a topic are shown with where they are from, and changed by a
// merge patch, of which nothing is taken if anything is wrong.
func TestSettings(t *testing.T) {
	s := start(t, func(c *config.Config) { c.PartitionSize, c.BatchSize = 200, 200 })
	const path = "/topics/orders/settings"
	s.get(path).wantProblem(t, 404, "not-found")
	s.sendJSON("PATCH", path, `{"partitions":2}`).wantProblem(t, 404, "not-found")
	for i := range 4 {
		s.protocol(testkit.Batch("orders", strings.Repeat("x", 150)+fmt.Sprint(i)))
	}
	const plain = `{"topic":"orders","settings":{"partitions":{"value":"8","origin":"default","own":false},` +
		`"partition_size":{"value":"200","origin":"default","own":false},"retention_age":{"value":"0s","origin":"default","own":false},` +
		`"retention_bytes":{"value":"0","origin":"default","own":false},"batch_size":{"value":"200","origin":"default","own":false},` +
		`"topic_write_rate":{"value":"0","origin":"default","own":false},"durability":{"value":"flushed","origin":"default","own":false}}}` + "\n"
	s.get(path).want(t, 200, plain)

	// A dry run answers with the plan, and changes nothing.
	a := s.sendJSON("PATCH", path+"?dry_run=1", `{"partitions":2,"durability":"synced"}`)
	if n := strings.Count(a.body, `"verdict":"remove","why":"partitions"`); a.StatusCode != 200 || n != 2 || !strings.HasPrefix(a.body, `{"topic":"orders","partitions":[{"base":0,`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for body, words := range map[string]string{
		`{"partitions":0}`:                       `partitions = "0": out of range; allowed: 1 to 1000000`,
		`{"retention":"1h"}`:                     "it may have partitions, partition_size, retention_age",
		`{"retention_age":"1h","partitions":""}`: `partitions = "":`,
		`{"retention_age":3600}`:                 `"retention_age" is wrong: want a value as text`,
		`{"partitions":true}`:                    `"partitions" is wrong`,
		`{"partitions":"-"}`:                     `"partitions" is wrong`,
		`{"partitions":2,"partitions":3}`:        "twice",
		`{"durability":"replicated"}`:            "allowed: flushed or synced",
		`{"partitions":2,"batch_size":"1MiB"}`:   "batch_size is at most the server's",
		`[]`:                                     "no JSON object",
	} {
		a := s.sendJSON("PATCH", path, body)
		if a.StatusCode != 400 || !strings.Contains(a.object(t)["detail"].(string), words) {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	s.do("PATCH", path, `{"partitions":2}`).wantProblem(t, 415, "content-type")
	s.get(path).want(t, 200, plain)

	a = s.do("PATCH", path, `{"partitions":2,"batch_size":"180","durability":"synced"}`, "Content-Type", "application/merge-patch+json")
	if a.StatusCode != 200 || !regexp.MustCompile(`"partitions":\{"value":"2","origin":"set by anybody 20[^"]+Z","own":true\},.*"batch_size":\{"value":"180","origin":"set by .*"durability":\{"value":"synced","origin":"set by `).MatchString(a.body) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := s.get("/topics/orders"); !strings.Contains(a.body, `"settings":{"partitions":{"value":"2",`) {
		t.Errorf("%s", a.body)
	}
	testkit.Eventually(t, func() string { return testkit.Unless(s.info("orders").Partitions == 2, "more than 2 partitions") })

	// What is written goes by them: as many bytes a batch, and as durable.
	a = s.do("POST", "/topics/orders/messages?require=synced", strings.Repeat("y", 100)+"\n"+strings.Repeat("z", 40)+"\n")
	if a.StatusCode != 200 || !strings.Contains(a.body, `"messages":2,"batches":2,`) || !strings.Contains(a.body, `"durability":"synced"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.do("POST", "/topics/orders/messages", strings.Repeat("y", 170)+"\n").wantProblem(t, 413, "too-large")
	s.do("POST", "/topics/other/messages?require=synced", "x\n").wantProblem(t, 412, "durability")

	// null takes away; dry runs of it know what counts then.
	a = s.sendJSON("PATCH", path+"?dry_run=1", `{"partitions":null}`)
	if strings.Contains(a.body, `"remove"`) || !strings.Contains(a.body, `"after_partitions":7`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.sendJSON("PATCH", path, `{"partitions":null,"batch_size":null,"durability":null,"retention_age":null}`).want(t, 200, plain)
	own := "http://" + s.node.HTTPAddr().String()
	s.do("PATCH", path, `{}`, "Content-Type", "application/merge-patch+json", "Origin", own).wantProblem(t, 415, "content-type")
	s.sendJSON("PATCH", path, `{}`, "Origin", own).want(t, 200, plain)
}

package logd

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// topicOnly is a Progress that knows a topic and keeps nothing else.
type topicOnly struct{ id string }

func (p *topicOnly) Position() (Position, error)      { return Position{}, nil }
func (p *topicOnly) Started(ID) error                 { return nil }
func (p *topicOnly) BatchEnd(ID, int64) error         { return nil }
func (p *topicOnly) Done(ID, error) error             { return nil }
func (p *topicOnly) TopicID() string                  { return p.id }
func (p *topicOnly) SetTopicID(id string) (err error) { p.id = id; return nil }

// A server that answers reads, and refuses what a Scanner has to know beside them,
// is not asked for ever: an answer that is of no use to the Scanner ends no count of
// failures.
func TestScannerGivesUpWhereReadsSucceed(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  ScannerConfig
		read string
	}{
		"which topic it is": {ScannerConfig{Start: AtOffset(1000), Progress: &topicOnly{"1"}}, "OK 1000 1\r\n" + stored("t", "a")},
		"what the end is":   {ScannerConfig{Start: AtOffset(1000)}, "OK 1000 0\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				infos := 0
				_, cfg := fake(t, func(p *script.Peer) {
					for {
						r, ok := p.Request()
						switch {
						case !ok:
							return
						case strings.HasPrefix(r.Line, "READ "):
							p.Answer("%s", tt.read)
						case r.Line == "CONFIG": // whether it is a cluster
							p.Answer("%s", "MOK 60\r\nHost: x\r\nTimeout: 1s\r\nIdleTimeout: 1s\r\nMaxBatchSize: 65536\r\n\r\n")
						case infos == 100:
							p.Answer("ERR not found\r\n") // it would ask for ever
						default:
							infos++
							p.Answer("ERR busy\r\n")
						}
					}
				})
				cfg.ReconnectAttempts = 3
				s, err := NewScanner(t.Context(), dialTest(t, cfg), "t", tt.cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if s.Scan() || !errors.Is(s.Err(), ErrBusy) || infos != 4 {
					t.Errorf("%v, asked %d times: %v", s.End(), infos, s.Err())
				}
			})
		})
	}
}

// A Scanner that shares a Client asks which topic it reads over each connection that
// its reads have, also if these have a connection of their own.
func TestScannerWatchesTheConnectionOfReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads, infos int
		id := "1"
		_, cfg := fake(t, func(p *script.Peer) {
			for {
				r, ok := p.Request()
				switch {
				case !ok:
					return
				case r.Line == "PING":
					time.Sleep(time.Second)
					p.Answer("OK\r\n")
				case strings.HasPrefix(r.Line, "READ "):
					reads++
					var at, n int
					fmt.Sscanf(r.Line, "READ t %d %d", &at, &n)
					if reads == 3 {
						id = "2" // the topic was replaced
						return   // and the server has begun anew
					}
					p.Answer("OK %d 1\r\n%s", at, stored("t", fmt.Sprint(reads)))
				default:
					infos++
					p.Answer("%s", infoOf(id))
				}
			}
		})
		c := dialTest(t, cfg)
		go c.Ping(t.Context()) // is under way while the first read is sent: they part
		synctest.Wait()
		s, err := NewScanner(t.Context(), c, "t", ScannerConfig{Start: AtOffset(1000), Progress: &topicOnly{}, ReadAhead: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var got string
		for range 10 {
			if !s.Scan() {
				break
			}
			got += string(s.Message().Body)
		}
		if !errors.Is(s.Err(), ErrTopicReplaced) || got != "12" {
			t.Errorf("read %q, asked %d times, %v", got, infos, s.Err())
		}
	})
}

// infoOf is the answer to INFO for a topic of the id.
func infoOf(id string) string {
	body := "Oldest: 0\r\nNext: 2000\r\nPartitions: 1\r\nBytes: 2000\r\nMessages: 9\r\nBatches: 9\r\nOldestTime: \r\nNewestTime: \r\nId: " + id + "\r\n"
	return fmt.Sprintf("MOK %d\r\n%s\r\n", len(body), body)
}

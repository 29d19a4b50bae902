package server_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

func TestHooks(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		store.Waiting = []topic.Hook{
			{Topic: "a", Base: 0, End: 120, State: "running"},
			{Topic: "b", Base: 7, End: 9, State: "failed", Attempts: 3, Next: time.UnixMilli(1500), Err: errors.New("no\r\nroom at all")},
		}
		c := connect(t, s)
		body := "topic=a base=0 end=120 state=running attempts=0\r\n" +
			"topic=b base=7 end=9 state=failed attempts=3 next=1970-01-01T00:00:01.500Z error=no room at all\r\n"
		c.send("HOOKS\r\nHOOK a 0 retry\r\nHOOK b 7 skip\r\nHOOK b 8 skip\r\n")
		c.want(fmt.Sprintf("MOK %d\r\n%s\r\nOK\r\nOK\r\nERR not found\r\n", len(body), body))
		if want := []string{"retry a 0", "skip b 7"}; !slices.Equal(store.Hooked(), want) {
			t.Errorf("done: %q, want %q", store.Hooked(), want)
		}
	})
}

func TestRetention(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		store.OnPlan = func(k topic.Limits) []topic.Planned {
			return []topic.Planned{
				{Base: 0, End: k.Partitions, Remove: topic.ByPartitions, Messages: 5, Newest: time.UnixMilli(1500)},
				{Base: k.Partitions, End: k.Bytes, Messages: -1, NewPartitions: 1, NewBytes: 2, At: time.UnixMilli(0).Add(k.Age)},
			}
		}
		c := connect(t, s)
		c.ask(testkit.Batch("t", "one"), "OK 0 1")
		body := "base=0 end=3 verdict=remove why=partitions messages=5 newest=1970-01-01T00:00:01.500Z\r\n" +
			"base=3 end=50 verdict=keep after-partitions=1 after-bytes=2 at=1970-01-01T00:00:00.250Z\r\n"
		c.send("RETENTION t partitions=3 bytes=50 age=250\r\n")
		c.want(fmt.Sprintf("MOK %d\r\n%s\r\n", len(body), body))
	})
}

package topictest_test

import (
	"testing"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

func TestMemory(t *testing.T) {
	for _, section := range []int64{0, 7} {
		topictest.Test(t, func(*testing.T) topic.Store {
			s := topictest.NewMemory()
			s.Section = section
			return s
		})
	}
}

package storage

import (
	"testing"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// TestContract: a store keeps what topic promises, with partitions that take
// everything and with one for each batch or two.
func TestContract(t *testing.T) {
	for _, size := range []int64{0, 40} {
		topictest.Test(t, func(t *testing.T) topic.Store {
			return openStore(t, Options{FS: osFS(t, t.TempDir()), PartitionSize: size}).Contract()
		})
	}
}

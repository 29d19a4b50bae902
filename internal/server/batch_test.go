package server_test

import (
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// length returns how much is in a topic, -1 if there is no such topic.
func length(store *topictest.Memory, name string) int {
	data, ok := store.Data(name)
	if !ok {
		return -1
	}
	return len(data)
}

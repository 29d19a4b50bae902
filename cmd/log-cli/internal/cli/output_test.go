package cli

import (
	"testing"

	"github.com/logd-dev/logd/admin"
)

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"MaxBatchSize": "max_batch_size", "Host": "host", "OldestTime": "oldest_time", "x": "x", "": ""} {
		if got := Snake(name); got != want {
			t.Errorf("snake(%q) = %q, want %q", name, got, want)
		}
	}
}

func serverFields(namesAndValues ...string) (fields []admin.Field) {
	for i := 0; i < len(namesAndValues); i += 2 {
		fields = append(fields, admin.Field{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return fields
}

package main

import "testing"

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"MaxBatchSize": "max_batch_size", "Host": "host", "OldestTime": "oldest_time", "x": "x", "": ""} {
		if got := snake(name); got != want {
			t.Errorf("snake(%q) = %q, want %q", name, got, want)
		}
	}
}

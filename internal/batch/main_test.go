package batch_test

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("rapid.nofailfile", "true") // its output says how to repeat a run
	os.Exit(m.Run())
}

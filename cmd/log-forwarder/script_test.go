package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/logd-dev/logd/cmd/internal/scripttest"
	"github.com/logd-dev/logd/internal/forward/settings"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"log-forwarder": main})
}

// TestScripts runs the command as users do.
func TestScripts(t *testing.T) {
	variables := []string{settings.EnvFile, "HOME", "STATE_DIRECTORY", "LOGD_HOST", "LOGD_TOKEN"}
	for _, s := range settings.Settings() {
		variables = append(variables, s.Env())
	}
	scripttest.Run(t, settings.DefaultFiles()[0], variables)
}

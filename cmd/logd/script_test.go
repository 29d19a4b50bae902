package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/logd-dev/logd/cmd/internal/scripttest"
	"github.com/logd-dev/logd/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"logd": main})
}

// TestScripts runs the command as users do.
func TestScripts(t *testing.T) {
	variables := []string{config.EnvFile}
	for _, s := range config.Settings() {
		variables = append(variables, s.Env())
	}
	scripttest.Run(t, config.DefaultFiles()[0], variables)
}

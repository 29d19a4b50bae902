package dial

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/settings"
)

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		config settings.Config
		token  string
		tls    bool
	}{
		{"plain", settings.Config{}, "", false},
		{"token", settings.Config{Token: "x"}, "x", false},
		{"token of a file", settings.Config{TokenFile: file, TLS: true}, "of-file", true},
	} {
		tt.config.Host = []string{"a:1", "unix:/s"}
		cfg := Config(&tt.config, nil)
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if len(cfg.Addrs) != 2 || (cfg.Dial != nil) != tt.tls || (cfg.Token != nil) != (tt.token != "") {
			t.Errorf("%s: %+v", tt.name, cfg)
		}
		if cfg.Token != nil {
			if got, err := cfg.Token(context.Background()); got != tt.token || err != nil {
				t.Errorf("%s: token %q, %v", tt.name, got, err)
			}
		}
		if err := Check(context.Background(), &tt.config); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// All that can't be shown is said at once.
	err := Check(context.Background(), &settings.Config{TokenFile: file + "x", TLSCA: file})
	if err == nil || !strings.Contains(err.Error(), "no token: ") || !strings.Contains(err.Error(), "tls-ca: "+file) {
		t.Errorf("neither a token nor authorities: %v", err)
	}
}

func TestExplain(t *testing.T) {
	none := &settings.Config{}
	for _, tt := range []struct {
		config *settings.Config
		err    error
		want   string
	}{
		{none, fmt.Errorf("x: %w", logd.ErrTLSRequired), "the server wants TLS: set tls"},
		{none, logd.ErrPlainToken, "set tls, or plain-token where nobody else is on the way"},
		{none, logd.ErrUnauthorized, "the server wants to know who this is: set token-file"},
		{&settings.Config{Token: "x"}, logd.ErrUnauthorized, ""},
		{none, logd.ErrConnect, ""},
	} {
		if got := Explain(tt.config, tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

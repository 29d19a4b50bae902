package config

import (
	"strings"
	"testing"
)

// TestHTTPAdvertise: the URL is one that Location can begin with, and what is wrong with
// another one is said.
func TestHTTPAdvertise(t *testing.T) {
	s, _ := Lookup("http-advertise")
	for _, url := range []string{"", "http://a:1775", "https://logs.example:443", "http://10.1.2.3:1775", "http://[::1]:1775"} {
		c := Default()
		if err := s.Set(&c, url); err != nil || c.HTTPAdvertise != url {
			t.Errorf("%q: %v", url, err)
		}
	}
	for url, why := range map[string]string{
		"a:1775":                  "neither http:// nor https://",
		"HTTP://a:1775":           "neither http:// nor https://",
		"ftp://a:1775":            "neither http:// nor https://",
		"http://a":                "not HOST:PORT",
		"http://":                 "not HOST:PORT",
		"http://a:x":              "not a port number",
		"http://a:1775/":          "ends with a slash",
		"http://a:1775/logs":      "has a path",
		"http://me:secret@a:1775": "has a user",
		"http://a:1775?x":         "query or a fragment",
		"http://a:1775#x":         "query or a fragment",
		"http://0.0.0.0:1775":     "leads nowhere",
		"http://[::]:1775":        "leads nowhere",
		"http://:1775":            "leads nowhere",
		"http://a:0":              "leads nowhere",
		"http://a b:1775":         "not a host",
		"http://a\r\nX: y:1775":   "not HOST:PORT",
		"http://a:1,http://b:1":   "has a path",
		"http://" + strings.Repeat("a", 254) + ":1": "not a host",
	} {
		c := Default()
		if err := s.Set(&c, url); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "http://HOST:PORT") {
			t.Errorf("%q: %v, want %s, and what is right", url, err, why)
		}
	}
	c := Default()
	c.HTTPAdvertise, c.HTTPHost = "http://a:1775", ""
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "http-host") {
		t.Errorf("without http-host: %v", err)
	}
}

package web

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// guard keeps web pages from using HTTP through the browser that shows them. A
// page can have any browser on this machine send requests to 127.0.0.1; if its
// own name is made to resolve to 127.0.0.1 (DNS rebinding), it may even read the
// answers. What gives such requests away are headers that no page can change.
type guard struct {
	hosts atomic.Pointer[map[string]bool] // further names in Host, in lower case
	log   *slog.Logger

	refused [numRefusals]atomic.Int64
	warned  [numRefusals]atomic.Int64 // when that was logged last, in nanoseconds
}

// refusal is why a request is refused.
type refusal uint8

const (
	none refusal = iota
	badHost
	badOrigin
	numRefusals
)

// String returns the refusal as a metric's label has it.
func (r refusal) String() string { return [...]string{"", "host", "origin"}[r] }

func newGuard(hosts []string, log *slog.Logger) *guard {
	g := &guard{log: log}
	g.allow(hosts)
	return g
}

// allow makes these the further names.
func (g *guard) allow(hosts []string) {
	names := make(map[string]bool)
	for _, name := range hosts {
		names[strings.TrimSuffix(strings.ToLower(name), ".")] = true
	}
	g.hosts.Store(&names)
}

// look tells whether a request that came to the local address may be answered. One that
// navigates to a page may come from another site: it shows the page by itself.
func (g *guard) look(local net.Addr, r *http.Request, navigates bool) refusal {
	if isLoopback(local) && !g.knows(r.Host) {
		return badHost
	}
	if site, ok := r.Header["Sec-Fetch-Site"]; ok && !navigates && !(len(site) == 1 && (site[0] == "same-origin" || site[0] == "none")) {
		return badOrigin
	}
	if origin, ok := r.Header["Origin"]; ok && !(len(origin) == 1 && sameOrigin(origin[0], r.Host)) {
		return badOrigin
	}
	return none
}

// knows reports whether host, which may have a port, can only be meant for this
// server: an address, which no DNS makes another of, or a name that it has.
func (g *guard) knows(host string) bool {
	name, ok := withoutPort(host)
	if !ok {
		return false
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "localhost" || (*g.hosts.Load())[name] {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Zone() == ""
}

// withoutPort cuts the port off the value of a Host header. An address of IPv6
// stands in brackets, which go, too.
func withoutPort(host string) (name string, ok bool) {
	port := ""
	if rest, bracket := strings.CutPrefix(host, "["); bracket {
		if name, port, ok = strings.Cut(rest, "]"); !ok || !strings.Contains(name, ":") {
			return "", false
		}
		if port, ok = strings.CutPrefix(port, ":"); !ok && port != "" {
			return "", false
		}
	} else {
		name, port, _ = strings.Cut(host, ":")
	}
	return name, strings.Trim(port, "0123456789") == ""
}

// sameOrigin reports whether an Origin header names the very host and port of a
// Host header. A port that is left out is the usual one of the origin's scheme.
func sameOrigin(origin, host string) bool {
	site, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(origin, site.Scheme+"://"+site.Host) {
		return false
	}
	own, err := url.Parse(site.Scheme + "://" + host)
	if err != nil || own.Host != host {
		return false
	}
	usual := map[string]string{"http": "80", "https": "443"}[site.Scheme]
	return usual != "" && site.Hostname() != "" && strings.EqualFold(site.Hostname(), own.Hostname()) &&
		cmp.Or(site.Port(), usual) == cmp.Or(own.Port(), usual)
}

// isLoopback reports whether an address is reached from this machine alone. One
// that is no address of IP is.
func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// isLoopbackPeer reports whether a request comes from this machine.
func isLoopbackPeer(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || addr.Addr().Unmap().IsLoopback()
}

// warnEvery is how often the same reason to refuse requests is logged.
const warnEvery = time.Minute

// count counts a refusal, and tells the operator of it now and then.
func (g *guard) count(why refusal, r *http.Request) {
	g.refused[why].Add(1)
	now := time.Now().UnixNano()
	last := g.warned[why].Load()
	if last != 0 && now-last < int64(warnEvery) || !g.warned[why].CompareAndSwap(last, now) {
		return
	}
	switch why {
	case badHost:
		g.log.Warn("an HTTP request was refused: it names another host, as a web page could make a browser do; if it is from a reverse proxy of yours, add the name to http-allowed-hosts",
			"remote", r.RemoteAddr, "path", shown(r.URL.Path), "host", shown(r.Host))
	case badOrigin:
		g.log.Warn("an HTTP request was refused: a browser sent it for a page of another site",
			"remote", r.RemoteAddr, "path", shown(r.URL.Path), "origin", shown(r.Header.Get("Origin")))
	}
}

// shown returns as much of a stranger's text as a log needs.
func shown(s string) string { return s[:min(len(s), 100)] }

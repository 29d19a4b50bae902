package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// policy parses a file that is good.
func policy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse("auth.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const file = `version = 1 # the only one

[[identity]]
name = "shipper-eu"
tokens = [
	"sha256:0000000000000000000000000000000000000000000000000000000000000001", # old
	"sha256:0000000000000000000000000000000000000000000000000000000000000002",
]
certs = ["dns:a.example", "uri:spiffe://example/a", "cn:a"]
uids = [1001]
gids = [100]
allow = ["write,create orders.eu.*", "read orders.*"]
write-rate = "20MiB"
read-rate = 1000
connections = 10

[[identity]]
name = "operator"
certs = ["cn:operator"]
uids = [0]
allow = ["admin *", "read __own"]

[[identity]]
name = "scraper"
allow = ["monitor *"]

[[identity]]
name = "anonymous"
allow = ["read public.*"]
`

func TestIdentities(t *testing.T) {
	p := policy(t, file)
	name := func(id *Identity) string {
		if id == nil {
			return ""
		}
		return id.Name()
	}
	for last, want := range map[byte]string{0: "", 1: "shipper-eu", 2: "shipper-eu", 3: ""} {
		var d Digest
		d[len(d)-1] = last
		if got := name(p.ByToken(d)); got != want {
			t.Errorf("the token %d is %q's, want %q", last, got, want)
		}
	}
	for peer, want := range map[[2]uint32]string{{1001, 5}: "shipper-eu", {5, 100}: "shipper-eu", {0, 100}: "operator", {5, 5}: "", {100, 1001}: ""} {
		if got := name(p.ByPeer(peer[0], peer[1])); got != want {
			t.Errorf("uid %d, gid %d is %q, want %q", peer[0], peer[1], got, want)
		}
	}
	uri, _ := url.Parse("spiffe://example/a")
	for _, test := range []struct {
		cert    x509.Certificate
		want    string
		several bool
	}{
		{x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, "shipper-eu", false},
		{x509.Certificate{DNSNames: []string{"x.example", "a.example"}, URIs: []*url.URL{uri}, Subject: pkix.Name{CommonName: "a"}}, "shipper-eu", false},
		{x509.Certificate{URIs: []*url.URL{uri}}, "shipper-eu", false},
		{x509.Certificate{DNSNames: []string{"a.example"}, Subject: pkix.Name{CommonName: "operator"}}, "", true},
		{x509.Certificate{DNSNames: []string{"A.example", "a.example.", "b.a.example", "a"}}, "", false},
		{x509.Certificate{Subject: pkix.Name{CommonName: "a.example"}}, "", false}, // a name of another kind
		{x509.Certificate{EmailAddresses: []string{"a.example"}}, "", false},
		{x509.Certificate{}, "", false},
	} {
		got, several := p.ByCertificate(&test.cert)
		if name(got) != test.want || several != test.several {
			t.Errorf("%+v is %q, %v; want %q, %v", test.cert.Subject, name(got), several, test.want, test.several)
		}
	}
	id := p.ByPeer(1001, 0)
	if id.writeRate != 20<<20 || id.readRate != 1000 || id.connections != 10 || p.ByName(id.Name()) != id || p.Tokens(id) != 2 || len(id.Rules()) != 2 {
		t.Errorf("%+v", id)
	}
	if name(p.Anonymous()) != Anonymous || len(p.Digest()) != 12 || p.Digest() == policy(t, file+"\n").Digest() {
		t.Errorf("anonymous is %q, the digest %q", name(p.Anonymous()), p.Digest())
	}
	if p := policy(t, "version = 1\n[[identity]]\nname = \"anonymous\"\n"); p.Anonymous() != nil {
		t.Error("anonymous may do something without a rule")
	}
}

func TestMay(t *testing.T) {
	p := policy(t, file)
	shipper, operator, scraper := p.ByPeer(1001, 0), p.ByPeer(0, 0), p.Identities()[2]
	for _, test := range []struct {
		id    *Identity
		verbs string
		topic string
	}{
		{shipper, "read write create", "orders.eu.1"},
		{shipper, "read write create", "orders.eu."},
		{shipper, "read", "orders.us"},
		{shipper, "", "orders"},
		{shipper, "", "Orders.eu.1"},
		{shipper, "", "__orders.eu.1"},
		{operator, "admin", "orders.eu.1"},
		{operator, "read", "__own"},
		{operator, "", "__other"},
		{scraper, "", "orders.eu.1"},
		{p.Anonymous(), "read", "public.x"},
		{p.Anonymous(), "", "private.x"},
	} {
		for _, verb := range []string{"read", "write", "create", "admin", "", "Read", "delete"} {
			want := verb != "" && strings.Contains(" "+test.verbs+" ", " "+verb+" ")
			if got := test.id.May(verb, []byte(test.topic)); got != want {
				t.Errorf("%s may %q %s: %v, want %v", test.id.Name(), verb, test.topic, got, want)
			}
		}
	}
	for verb, want := range map[string]bool{"read": true, "write": true, "admin": false, "monitor": false, "": false} {
		if got := shipper.MayAny(verb); got != want {
			t.Errorf("shipper-eu may %q something: %v", verb, got)
		}
	}
	for _, test := range []struct {
		id   *Identity
		verb string
		want bool
	}{{operator, "admin", true}, {operator, "read", false}, {operator, "monitor", false}, {scraper, "monitor", true}, {scraper, "admin", false}, {shipper, "read", false}} {
		if got := test.id.MayAll(test.verb); got != test.want {
			t.Errorf("%s may %s *: %v", test.id.Name(), test.verb, got)
		}
	}
	for topic, want := range map[string]bool{"orders.eu.1": true, "orders.us": true, "public.x": false} {
		if got := shipper.Sees([]byte(topic)); got != want {
			t.Errorf("shipper-eu sees %s: %v", topic, got)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	id := policy(t, file).ByPeer(1001, 0)
	topic := []byte("orders.eu.1")
	if n := testing.AllocsPerRun(100, func() { id.May("read", topic); id.MayAny("admin"); id.Sees(topic) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTokens(t *testing.T) {
	a, b := NewToken(), NewToken()
	if len(a) != 48 || !strings.HasPrefix(a, "logd_") || a == b {
		t.Errorf("%q, %q", a, b)
	}
	d := Sum([]byte(a))
	if got, ok := parseDigest(d.String()); !ok || got != d || d == Sum([]byte(b)) {
		t.Errorf("%v", d)
	}
	if want := "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; Sum([]byte("hello")).String() != want {
		t.Errorf("%v", Sum([]byte("hello")))
	}
}

func TestFailures(t *testing.T) {
	var f Failures
	now := time.Unix(1000, 0)
	addr := netip.MustParseAddr
	const first, later = 250 * time.Millisecond, 2 * time.Second
	for i := 1; i <= 40; i++ {
		// Other addresses do not count.
		if d, last := f.Failed(addr("192.0.2.2"), now.Add(time.Duration(i)*time.Hour)); d != first || last {
			t.Fatalf("another address waits %v, %v", d, last)
		}
		d, last := f.Failed(addr("192.0.2.1"), now)
		if many := i > 30; (d == later) != many || (d == first) == many || last != many {
			t.Fatalf("failure %d waits %v, %v", i, d, last)
		}
	}
	if d, _ := f.Failed(addr("192.0.2.1"), now.Add(59*time.Second)); d != later {
		t.Errorf("after 59 seconds it waits %v", d)
	}
	if d, _ := f.Failed(addr("192.0.2.1"), now.Add(time.Minute)); d != first {
		t.Errorf("after a minute it waits %v", d)
	}
	if d, _ := f.Failed(netip.Addr{}, now); d != first {
		t.Errorf("who has no address waits %v", d)
	}
}

// TestFailuresAreBounded: who has failed from ever so many addresses costs no more,
// and who goes on failing from one is not forgotten for that.
func TestFailuresAreBounded(t *testing.T) {
	var f Failures
	now := time.Unix(1000, 0)
	persistent := netip.MustParseAddr("192.0.2.1")
	for range 31 {
		f.Failed(persistent, now)
	}
	for i := range 3 * maxAddresses {
		f.Failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
		if i%1000 == 0 {
			if d, _ := f.Failed(persistent, now); d != manyDelay {
				t.Fatalf("forgotten after %d others", i)
			}
		}
	}
	if len(f.known) != maxAddresses || f.order.Len() != maxAddresses {
		t.Errorf("%d addresses, %d in order", len(f.known), f.order.Len())
	}
}

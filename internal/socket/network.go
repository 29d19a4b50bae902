package socket

import (
	"net"
	"net/netip"
)

// Network returns what counts as one address where somebody is counted: of IPv6 the
// network of 64 bits, which is the least that one customer has.
func Network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if p, err := addr.Prefix(64); err == nil && addr.Is6() {
		return p.Addr()
	}
	return addr
}

// OnLoopback reports whether an address is reached from this machine alone, for
// which it may look up the name of the host. One whose name leads nowhere is: to listen on
// it fails.
func OnLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	ips, _ := net.LookupIP(host)
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return false
		}
	}
	return true
}

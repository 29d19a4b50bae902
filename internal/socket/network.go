package socket

import "net/netip"

// Network returns what counts as one address where somebody is counted: of IPv6 the
// network of 64 bits, which is the least that one customer has.
func Network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if p, err := addr.Prefix(64); err == nil && addr.Is6() {
		return p.Addr()
	}
	return addr
}

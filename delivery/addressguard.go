package delivery

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// The address guard keeps requests whose address did not come from the configuration file away from what only this machine and its
// network can reach: a caller of the API, or a subscriber, must not use walhook to talk to the database's
// host, the cloud's metadata service or a neighbour's printer.
//
// It judges the address that is about to be dialled, on every connection, after the name was resolved: a name that resolves to
// something else the second time (DNS rebinding), an address in decimal, octal or hex, and every form in which
// IPv6 wraps an IPv4 address come to the same. It dials without a proxy, as a proxy would resolve the name itself.
//
// It does not know which public addresses belong to this machine or its network, nor the prefixes of a network's own
// NAT64 (RFC 6052); those that are public pass.

// GuardedAddressError says that an address is not one that a guarded request may go to.
type GuardedAddressError struct {
	Address netip.Addr
	Why     string // "it is private (RFC 1918)"
}

// Error names the address and the reason.
func (e *GuardedAddressError) Error() string {
	return fmt.Sprintf("the address %s is not allowed here: it is %s", e.Address, e.Why)
}

// Hint returns the remedy.
func (e *GuardedAddressError) Hint() string {
	return "addresses that are not public are allowed for endpoints of the configuration file only: add [endpoints.NAME] with this url there"
}

// GuardAddress fits [net.Dialer.Control]: it refuses every address that is not public. The error is a *[GuardedAddressError].
func GuardAddress(network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return fmt.Errorf("the network %s is not allowed here", network)
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address %q is not allowed here: it is not resolved", address)
	}
	if why := NotPublic(target.Addr()); why != "" {
		return &GuardedAddressError{Address: target.Addr(), Why: why}
	}
	return nil
}

// GuardedDialer is a dialer that reaches public addresses only. Use it without a proxy.
func GuardedDialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second, Control: GuardAddress}
}

// block is a range of addresses that no public service has.
type block struct {
	prefix netip.Prefix
	what   string
}

// notPublic4 and notPublic6 follow IANA's registries of special-purpose addresses: what is not globally reachable. Of IPv6, what
// lies outside 2000::/3 is no address of a public service either.
var notPublic4 = blocks([][2]string{
	{"0.0.0.0/8", "this network (RFC 791)"},
	{"10.0.0.0/8", "private (RFC 1918)"},
	{"100.64.0.0/10", "shared by a carrier's NAT (RFC 6598)"},
	{"127.0.0.0/8", "this machine (loopback)"},
	{"169.254.0.0/16", "link-local (RFC 3927), where cloud providers keep credentials"},
	{"172.16.0.0/12", "private (RFC 1918)"},
	{"192.0.0.0/24", "reserved for protocols (RFC 6890)"},
	{"192.0.2.0/24", "for documentation (RFC 5737)"},
	{"192.88.99.0/24", "a 6to4 relay (RFC 7526)"},
	{"192.168.0.0/16", "private (RFC 1918)"},
	{"198.18.0.0/15", "for benchmarks (RFC 2544)"},
	{"198.51.100.0/24", "for documentation (RFC 5737)"},
	{"203.0.113.0/24", "for documentation (RFC 5737)"},
	{"224.0.0.0/4", "multicast (RFC 5771)"},
	{"240.0.0.0/4", "reserved or broadcast (RFC 1112)"},
})

var notPublic6 = blocks([][2]string{
	{"::/128", "unspecified"},
	{"::1/128", "this machine (loopback)"},
	{"64:ff9b:1::/48", "translated by a network's own NAT64 (RFC 8215)"},
	{"fc00::/7", "private (RFC 4193)"},
	{"fe80::/10", "link-local (RFC 4291)"},
	{"fec0::/10", "site-local (RFC 3879)"},
	{"ff00::/8", "multicast (RFC 4291)"},
	{"2001::/32", "tunnelled by Teredo (RFC 4380)"},
	{"2001::/23", "reserved for protocols (RFC 2928)"},
	{"2001:db8::/32", "for documentation (RFC 3849)"},
	{"3fff::/20", "for documentation (RFC 9637)"},
})

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour     = netip.MustParsePrefix("2002::/16")
)

func blocks(table [][2]string) []block {
	all := make([]block, len(table))
	for i, row := range table {
		all[i] = block{netip.MustParsePrefix(row[0]), row[1]}
	}
	return all
}

// NotPublic says what keeps an address from being one of a public service, "" when nothing does. Addresses
// of IPv6 that carry one of IPv4 are judged by that.
func NotPublic(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	if a.Zone() != "" {
		return "bound to a network interface"
	}
	if a.Is4In6() {
		a = a.Unmap()
	}
	if a.Is4() {
		return within(a, notPublic4)
	}
	if why := within(a, notPublic6); why != "" {
		return why
	}
	raw := a.As16()
	carried := func(at int, how string) string {
		if why := NotPublic(netip.AddrFrom4([4]byte(raw[at : at+4]))); why != "" {
			return how + ", " + why
		}
		return ""
	}
	switch {
	case nat64.Contains(a):
		return carried(12, "translated by NAT64")
	case sixToFour.Contains(a):
		return carried(2, "tunnelled by 6to4")
	case !globalUnicast.Contains(a):
		return "no global unicast address (RFC 4291)" // IPv4-compatible ::a.b.c.d and IPv4-translated ::ffff:0:a.b.c.d among them
	case raw[8]&^0x02 == 0 && raw[9] == 0 && raw[10] == 0x5e && raw[11] == 0xfe:
		return carried(12, "tunnelled by ISATAP")
	}
	return ""
}

func within(a netip.Addr, table []block) string {
	for _, b := range table {
		if b.prefix.Contains(a) {
			return b.what
		}
	}
	return ""
}

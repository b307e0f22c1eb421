package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestNotPublic(t *testing.T) {
	for address, want := range map[string]string{
		// public
		"8.8.8.8": "", "1.1.1.1": "", "93.184.215.14": "", "172.15.255.255": "", "172.32.0.0": "", "100.63.255.255": "", "100.128.0.0": "", "169.253.1.1": "", "192.0.1.1": "",
		"198.17.255.255": "", "198.20.0.0": "", "223.255.255.255": "", "2606:4700:4700::1111": "", "2a00:1450:4001:801::200e": "", "::ffff:8.8.8.8": "", "64:ff9b::8.8.8.8": "",
		"2002:808:808::1": "", "2a00:1450::5efe:808:808": "", "2001:4860:4860::8888": "",
		// IPv4
		"0.0.0.0": "this network", "0.1.2.3": "this network", "10.1.2.3": "private", "100.64.0.1": "carrier", "100.127.255.255": "carrier", "127.0.0.1": "this machine", "127.255.1.1": "this machine",
		"169.254.169.254": "link-local", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "192.0.0.1": "reserved", "192.0.0.192": "reserved",
		"192.0.2.1": "documentation", "198.51.100.7": "documentation", "203.0.113.9": "documentation", "198.18.0.1": "benchmarks", "198.19.255.255": "benchmarks", "192.88.99.1": "6to4 relay",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "broadcast",
		// IPv6
		"::": "unspecified", "::1": "this machine", "fe80::1": "link-local", "febf::1": "link-local", "fe80::1%eth0": "interface", "2606:4700::1%1": "interface", "fec0::1": "site-local", "feff::1": "site-local",
		"fc00::1": "private", "fd12:3456::1": "private", "ff02::1": "multicast", "2001:db8::1": "documentation", "3fff::1": "documentation", "2001:2::1": "reserved", "2001:20::1": "reserved",
		"100::1": "no global", "5f00::1": "no global", "4000::1": "no global", "fd00:ec2::254": "private",
		// one in the other
		"::ffff:127.0.0.1": "this machine", "::ffff:10.0.0.1": "private", "::ffff:169.254.169.254": "link-local", "::127.0.0.1": "no global", "::10.0.0.1": "no global", "::ffff:0:127.0.0.1": "no global",
		"64:ff9b::127.0.0.1": "NAT64, this machine", "64:ff9b::a9fe:a9fe": "NAT64, link-local", "64:ff9b:1::808:808": "NAT64", "64:ff9b:1:a00:1::": "NAT64", "64:ff9b:0:1::1": "no global",
		"2002:7f00:1::1": "6to4, this machine", "2002:a00:1::": "6to4, private", "2002:c0a8:101::1": "6to4, private", "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo", "2001::1": "Teredo",
		"2a00:1450::5efe:7f00:1": "ISATAP, this machine", "2a00:1450::200:5efe:10.0.0.1": "ISATAP, private",
	} {
		got := NotPublic(netip.MustParseAddr(address))
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if NotPublic(netip.Addr{}) == "" {
		t.Error("the zero address passes")
	}
	for _, tt := range [][2]string{{"unix", "/run/x.sock"}, {"udp", "8.8.8.8:53"}, {"tcp", "example.com:80"}, {"tcp", "127.0.0.1:80"}, {"tcp6", "[fe80::1%lo]:80"}} {
		if GuardAddress(tt[0], tt[1], nil) == nil {
			t.Errorf("%s %s passes", tt[0], tt[1])
		}
	}
	if err := GuardAddress("tcp4", "8.8.8.8:443", nil); err != nil {
		t.Error(err)
	}
}

// However an address of this machine is spelt, a guarded request does not reach it; one of the configuration file does.
func TestGuardedSender(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTP_PROXY", server.URL)
	t.Setenv("http_proxy", server.URL)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "[::]", "169.254.169.254", "[fe80::1%25lo]"} {
		c := EndpointConfig{URL: URL("http://" + host + ":" + port + "/"), Guarded: true, Timeout: seconds(5)}
		s, err := NewHTTPSender(map[string]EndpointConfig{"x": c}, "1")
		if err != nil {
			t.Fatal(err)
		}
		a := s.Send(t.Context(), testDelivery("x"))
		s.Close()
		if a.Status != 0 || a.Class != ClassConnect && a.Class != ClassDNS || reached.Load() != 0 {
			t.Errorf("%s: status %d, class %q, %s; %d requests arrived", host, a.Status, a.Class, a.Error, reached.Load())
		}
	}
	if _, err := NewHTTPSender(map[string]EndpointConfig{"x": {URL: "http://example.com/", Guarded: true, Proxy: URL(server.URL)}}, "1"); err == nil {
		t.Error("a guarded request may go through a proxy")
	}
	s := newSender(t, map[string]EndpointConfig{"x": {URL: URL(server.URL)}})
	if a := s.Send(t.Context(), testDelivery("x")); a.Status != 200 {
		t.Errorf("unguarded: %+v", a)
	}
}

// A name that resolves to a public address when it is looked at, and to this machine when it is dialled, is refused: what is judged is what is dialled.
func TestGuardAgainstRebinding(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	resolver := changingResolver(t, func() netip.Addr {
		if asked.Add(1) == 1 {
			return netip.MustParseAddr("203.0.114.1") // public
		}
		return netip.MustParseAddr("127.0.0.1")
	})
	first, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.test")
	if err != nil || len(first) != 1 || NotPublic(first[0]) != "" {
		t.Fatalf("the first look: %v, %v", first, err)
	}
	dialer := GuardedDialer(5 * time.Second)
	dialer.Resolver = resolver
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Get("http://rebind.test:" + port + "/")
		if err == nil {
			_ = resp.Body.Close()
			t.Fatal("the request arrived")
		}
		var guarded *GuardedAddressError
		if !errors.As(err, &guarded) || guarded.Address != netip.MustParseAddr("127.0.0.1") || guarded.Hint() == "" {
			t.Fatalf("error %v", err)
		}
	}
	if reached.Load() != 0 || asked.Load() < 2 {
		t.Errorf("%d requests arrived; the resolver was asked %d times", reached.Load(), asked.Load())
	}
}

// changingResolver answers every question for an address of IPv4 with what answer returns.
func changingResolver(t *testing.T, answer func() netip.Addr) *net.Resolver {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for buf := make([]byte, 512); ; {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := dnsReply(buf[:n], answer); reply != nil {
				_, _ = l.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", l.LocalAddr().String())
	}}
}

// dnsReply answers one question: an A record with TTL 0, or nothing for other types.
func dnsReply(query []byte, answer func() netip.Addr) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	if end+5 > len(query) {
		return nil
	}
	question := query[12 : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	if kind == 1 {
		reply[7] = 1
		four := answer().As4()
		reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), four[:]...)
	}
	return reply
}

//go:build linux

// Command relay forwards UDP datagrams to a target and the answers back, as a
// WireGuard relay does. It marks its packets for policy routing (SO_MARK),
// which needs CAP_NET_ADMIN; it knows nothing else of capabilities.
//
//	relay LISTEN TARGET
package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// mark is what `ip rule add fwmark 51820` can tell the relay's packets by.
const mark = 51820

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: relay LISTEN TARGET")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "relay:", relay(os.Args[1], os.Args[2]))
	os.Exit(1)
}

// relay forwards until something fails.
func relay(listen, target string) error {
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		return err
	}
	conn, err := open(listen)
	if err != nil {
		return err
	}
	fmt.Printf("relay: %v -> %v, mark %d, uid %d\n", conn.LocalAddr(), to, mark, os.Getuid())
	return forward(conn, to.AddrPort())
}

// open listens, with the mark on what is sent.
func open(listen string) (*net.UDPConn, error) {
	at, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt SO_MARK", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, mark))
	})
	if err := errors.Join(err, failed); err != nil {
		conn.Close()
		return nil, fmt.Errorf("marking packets: %w", err)
	}
	return conn, nil
}

// forward passes datagrams of the target to the client that wrote last, and all others to the target.
func forward(conn *net.UDPConn, target netip.AddrPort) error {
	target = plain(target)
	var client netip.AddrPort
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		next := target
		if plain(from) == target {
			next = client
		} else {
			client = from
		}
		if next.IsValid() {
			if _, err := conn.WriteToUDPAddrPort(buf[:n], next); err != nil {
				return err
			}
		}
	}
}

// plain gives an IPv4 address one form: as ::ffff:127.0.0.1, which a socket for
// both families reports, it is not equal to 127.0.0.1.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

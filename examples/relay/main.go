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
	at, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt SO_MARK", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, mark))
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("marking packets: %w", err)
	}
	fmt.Printf("relay: %v -> %v, mark %d, uid %d\n", conn.LocalAddr(), to, mark, os.Getuid())

	var client *net.UDPAddr // the last one that wrote
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDP(buf)
		if err != nil {
			return err
		}
		next := to
		if from.AddrPort() == to.AddrPort() {
			next = client
		} else {
			client = from
		}
		if next != nil {
			if _, err := conn.WriteToUDP(buf[:n], next); err != nil {
				return err
			}
		}
	}
}

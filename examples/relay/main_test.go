//go:build linux

package main

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/unit"
)

func TestADatagramGoesToTheTargetAndItsAnswerBackOnce(t *testing.T) {
	for _, tt := range []struct{ name, listen, host string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"IPv4 on a socket for both", "[::]:0", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(tt.host)})
			if err != nil {
				t.Skip("no such address here:", err)
			}
			defer target.Close()
			conn, err := open(tt.listen)
			if errors.Is(err, syscall.EPERM) {
				t.Skip("SO_MARK needs NET_ADMIN:", err)
			}
			unit.Must(t, err)
			defer conn.Close()
			go forward(conn, target.LocalAddr().(*net.UDPAddr).AddrPort())

			client, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(tt.host), Port: conn.LocalAddr().(*net.UDPAddr).Port})
			unit.Must(t, err)
			defer client.Close()
			for _, c := range []*net.UDPConn{client, target} {
				c.SetReadDeadline(time.Now().Add(time.Minute))
			}
			buf := make([]byte, 64)
			for _, word := range []string{"one", "two", "three"} {
				client.Write([]byte(word))
				n, from, err := target.ReadFromUDP(buf)
				if err != nil || string(buf[:n]) != word {
					t.Fatalf("the target got %q, %v; want %q", buf[:n], err, word)
				}
				target.WriteToUDP([]byte("re "+word), from)
				// An answer that looped would be what the target reads next.
				n, err = client.Read(buf)
				if err != nil || string(buf[:n]) != "re "+word {
					t.Fatalf("the client got %q, %v; want %q", buf[:n], err, "re "+word)
				}
			}
			for name, c := range map[string]*net.UDPConn{"client": client, "target": target} {
				c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				if n, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("one more datagram at the %s: %q, %v", name, buf[:n], err)
				}
			}
		})
	}
}

package programs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// iputils' ping as it is after a build that lost its file capabilities. In a new network namespace ping_group_range is
// "1 0", nobody, so that only NET_RAW helps.
func TestPingNeedsNoFileCapabilities(t *testing.T) {
	path, err := filepath.EvalSymlinks(engine.Tool(t, "ping"))
	engine.Must(t, err)
	ping := []string{engine.Copy(t, path, 0o755), "-c1", "-W5", "127.0.0.1"}
	s := start{flags: []string{"--caps=net_raw", asUser}, within: `test "$(cat /proc/sys/net/ipv4/ping_group_range)" = "$(printf '1\t0')"`}
	s.run(t, ping...).Ran(t, "1 received")
	s.flags = s.flags[1:]
	if r := s.run(t, ping...); r.Code != 2 || !strings.Contains(r.Stderr, "Operation not permitted") {
		t.Errorf("without NET_RAW: %v", r)
	}
}

// tunnel sets up two network namespaces, a wire between them, and in each a wireguard-go that caplaunch starts as uid
// 65532: "$1" is caplaunch, "$2" wireguard-go, "$3" the probe. Names, sockets and devices go with the namespaces.
const tunnel = `
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
mkdir /run/keys
install -d -o 65532 -g 65532 /run/wireguard # for the UAPI sockets
umask 077
for n in 1 2; do
	ip netns add n$n
	ip -n n$n link set lo up
	wg genkey >/run/keys/$n
done
ip link add v1 netns n1 type veth peer name v2 netns n2
for n in 1 2; do
	ip -n n$n addr add 192.0.2.$n/24 dev v$n
	ip -n n$n link set v$n up
	nsenter --net=/run/netns/n$n "$1" -c net_admin -u 65532:65532 -- "$2" -f wg$n >&2 &
	eval p$n=$!
done
for n in 1 2; do
	other=$((3 - n)) i=0
	until [ -S /run/wireguard/wg$n.sock ]; do
		i=$((i + 1)); [ $i -lt 100 ]
		sleep 0.1
	done
	nsenter --net=/run/netns/n$n wg set wg$n listen-port 51820 private-key /run/keys/$n \
		peer "$(wg pubkey </run/keys/$other)" allowed-ips 10.0.0.$other/32 endpoint 192.0.2.$other:51820
	ip -n n$n addr add 10.0.0.$n/24 dev wg$n
	ip -n n$n link set wg$n up
done
nsenter --net=/run/netns/n1 ping -c2 -i0.2 -W5 10.0.0.2 >&2
echo process=1; "$3" $p1
echo process=2; "$3" $p2
`

func TestTwoWireGuardsAsAUserTalkToEachOther(t *testing.T) {
	engine.RequireRoot(t, "wg", "ip", "ping", "nsenter")
	program := engine.Copy(t, engine.Install(t, "golang.zx2c4.com/wireguard", "v0.0.0-20260522210424-ecfc5a8d5446"), 0o755)
	r := engine.Exec(t, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", tunnel,
		"sh", engine.Caplaunch(t), program, engine.Probe(t))
	_, processes, _ := strings.Cut(r.Stdout, "process=1\n")
	first, second, ok := strings.Cut(processes, "process=2\n")
	if r.Code != 0 || !ok || !strings.Contains(r.Stderr, "2 received, 0% packet loss") {
		t.Fatal(r)
	}
	given.Want(t, engine.Result{Stdout: first})
	given.Want(t, engine.Result{Stdout: second})
}

#!/bin/sh
# Sets up two networks with a wire between them, in the virtual machine, and in each the example as uid 65532. What must
# fail goes before.
# shellcheck disable=SC2086 # words of their own
set -eu
busybox --install -s /bin 2>/dev/null || : # not over sh
for _ in 1 2 3 4 5 6; do # some modules need others first
	for module in /modules/*.ko; do
		insmod "$module" 2>/dev/null && rm "$module"
	done
done
mkdir -p /etc /run
umask 077
echo app:x:65532:65532::/:/bin/sh >/etc/passwd && chmod 644 /etc/passwd
for n in 1 2; do
	ip netns add n$n
	wg genkey >/key$n
done
ip link add v1 netns n1 type veth peer name v2 netns n2
at() { n=$1; shift; nsenter --net=/run/netns/n$n "$@"; }
for n in 1 2; do
	other=$((3 - n))
	echo "[Interface]
PrivateKey = $(cat /key$n)
ListenPort = 51820
[Peer]
PublicKey = $(wg pubkey </key$other)
AllowedIPs = 10.0.0.$other/32
Endpoint = 192.0.2.$other:51820" >/etc/wg$n.conf
	chown 65532:65532 /etc/wg$n.conf
	at $n ip address add 192.0.2.$n/24 dev v$n
	at $n ip link set v$n up
done
up="up wg0 10.0.0.1/24 /etc/wg1.conf"
echo "# as the user, without caplaunch"; at 1 su -s /bin/sh app -c "$up" || echo $?
echo "# without the grant"; at 1 caplaunch -c setuid,setgid -u 0:0 -- caplaunch -q -c net_admin -u 65532:65532 -- $up 2>/dev/null || echo $?
echo "# as another user"; at 1 caplaunch -c net_admin -u 1000:1000 -- $up || echo $?
at 1 ip link delete wg0
echo "# as it should be"
for n in 1 2; do
	at $n caplaunch -c net_admin -u 65532:65532 -- sh -euc 'grep -E "^(Uid|CapAmb)" /proc/self/status; up "$@"' sh wg0 10.0.0.$n/24 /etc/wg$n.conf
done
at 1 ping -q -c 3 10.0.0.2 | grep -o "[1-3] packets received"

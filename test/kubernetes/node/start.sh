#!/bin/sh
# Makes the namespaces in which it is process 1 a node, starts the node's daemons, and becomes "$@". $RUN is the node's
# folder, $BIN has the programs, $REPO is the repository.
set -eu

mount --make-rprivate /
mount --make-rshared / # a volume has to reach the pods
mount -t proc proc /proc
# Sockets, network namespaces and notes of CNI cannot be told to be elsewhere.
for d in /run /var/lib /var/log; do
	mount -t tmpfs tmpfs "$d"
done
# The kubelet would set these for the whole machine; here it finds them set. They cover a part of proc, and pods in a user
# namespace may mount one only where a whole one is in sight.
mkdir "$RUN/proc"
mount -t proc proc "$RUN/proc"
while read -r name value; do
	echo "$value" >"/run/${name##*/}"
	mount --bind "/run/${name##*/}" "/proc/sys/$name"
done <<END
vm/overcommit_memory 1
kernel/panic 10
kernel/panic_on_oops 1
END
hostname node0
ip link set lo up
ip link add node0 type bridge
ip addr add 192.0.2.1/24 dev node0 # a node's address may not be loopback
ip link set node0 up
cgroup=caplaunch-${RUN##*/}
cd /sys/fs/cgroup
for c in $(if [ -e cgroup.procs ]; then echo .; else dirname ./*/cgroup.procs; fi); do
	mkdir -p "$c/$cgroup"
	for f in cpuset.cpus cpuset.mems; do # in version 1 they start empty
		[ ! -e "$c/$f" ] || cat "$c/$f" >"$c/$cgroup/$f"
	done
done
cd "$OLDPWD"

umask 077
printf 'admin,admin,1,system:masters\nnode,system:node:node0,2,system:nodes\n' >"$RUN/tokens"
openssl genrsa -out "$RUN/sa.key" 2048 2>/dev/null
for user in admin node; do
	cat >"$RUN/$user.kubeconfig" <<END
{apiVersion: v1, kind: Config, current-context: x,
 clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}],
 users: [{name: u, user: {token: $user}}], contexts: [{name: x, context: {cluster: c, user: u}}]}
END
done
mkdir -p "$RUN/hosts/_default" "$RUN/kubelet/seccomp"
printf '[host."http://127.0.0.1:5000"]\n  capabilities = ["pull", "resolve"]\n' >"$RUN/hosts/_default/hosts.toml"
for f in containerd.toml kubelet.yaml; do
	sed "s|@RUN@|$RUN|; s|@BIN@|$BIN|; s|@NODE@|$PWD/node|; s|@CGROUP@|$cgroup|" "node/$f" >"$RUN/$f"
done
cp node/no-ambient.json "$RUN/kubelet/seccomp"
umask 022

daemon() { # which ends with the node, and the node with it
	{
		"$@" >"$RUN/$1.log" 2>&1 || true
		echo "$1 ended" >&2
		tail -n 20 "$RUN"/*.log >&2
		kill -TERM 1
	} &
}
await() {
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		if [ $n = 1500 ]; then
			tail -n 20 "$RUN"/*.log >&2
			exit 1
		fi
		sleep 0.2
	done
}

# Whatever registry their names begin with, the runtime asks this one for the images.
daemon crane registry serve --address=127.0.0.1:5000
await crane catalog 127.0.0.1:5000
image() {
	name=127.0.0.1:5000/$1:1 root=$RUN/images/$1
	shift
	mkdir -m 1777 "$root/tmp"
	tar -C "$root" -cf "$RUN/image.tar" .
	crane append -t "$name" -f "$RUN/image.tar" >/dev/null
	crane mutate "$name" -t "$name" --set-platform="linux/$(go env GOARCH)" "$@" >/dev/null
}
cd "$RUN"
install -D /bin/busybox images/pause/sleep
install -D "$REPO/bin/caplaunch" images/caplaunch/caplaunch
install -D "$BIN/relay" images/relay/relay
install -D /bin/busybox images/library/busybox/bin/busybox
for name in sh cat id kill sleep true grep ls; do
	ln images/library/busybox/bin/busybox images/library/busybox/bin/$name
done
image pause --entrypoint=/sleep,infinity
image caplaunch --user=65532:65532
image relay --user=65532:65532 --entrypoint=/relay
image library/busybox --env=PATH=/bin
cd "$OLDPWD"

daemon etcd --data-dir="$RUN/etcd" --unsafe-no-fsync
daemon containerd --config="$RUN/containerd.toml"
daemon kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 \
	--advertise-address=192.0.2.1 --endpoint-reconciler-type=none --service-cluster-ip-range=203.0.113.0/24 \
	--cert-dir="$RUN/certs" --token-auth-file="$RUN/tokens" --authorization-mode=Node,RBAC \
	--disable-admission-plugins=ServiceAccount --service-account-issuer=https://kubernetes.default.svc \
	--service-account-key-file="$RUN/sa.key" --service-account-signing-key-file="$RUN/sa.key" \
	--allow-privileged=true --kubelet-preferred-address-types=InternalIP
await kubectl get --raw=/readyz
daemon kubelet --config="$RUN/kubelet.yaml" --kubeconfig="$RUN/node.kubeconfig" \
	--root-dir="$RUN/kubelet" --cert-dir="$RUN/certs" --hostname-override=node0 --node-ip=192.0.2.1
await kubectl wait --for=condition=Ready node/node0 --timeout=10s
exec "$@"

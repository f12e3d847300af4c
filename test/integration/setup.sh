#!/bin/sh
# Installs what the integration tests need, on Debian 12, as root. Idempotent, and quick when all is there.
# The tests start every daemon themselves, so the packages' own services are neither started nor needed.
set -eu

packages="
docker.io docker-compose podman buildah skopeo umoci runc crun containerd containernetworking-plugins
slirp4netns fuse-overlayfs uidmap
systemd systemd-container bubblewrap libcap2-bin attr util-linux strace tmux
iputils-ping wireguard-tools iproute2 nftables caddy gosu busybox-static curl
lxc tini rsync
debootstrap mmdebstrap cpio zstd
qemu-user-static qemu-system-x86
rpm lintian mandoc shellcheck codespell zsh fish bash-completion
gcc libc6-dev musl-tools
libseccomp-dev pkg-config openssl
"

missing=
# One query for all: a package that is unknown to dpkg is simply not in the answer.
# shellcheck disable=SC2086,SC2016 # the list is split on purpose, the format is dpkg's
installed=" $(dpkg-query -W -f='${db:Status-Status}:${Package} ' $packages 2>/dev/null || true)"
for p in $packages; do
	case "$installed" in
	*" installed:$p "*) ;;
	*) missing="$missing $p" ;;
	esac
done
if [ -z "$missing" ]; then
	echo "setup: everything is installed"
	exit 0
fi

echo "setup: installing$missing"
if [ "$(id -u)" != 0 ]; then
	echo "setup: run this as root" >&2
	exit 1
fi

# No service starts while packages are configured. A policy that is already there is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing

#!/bin/sh
# Runs the tests of the folder that it is called in on Debian's kernel for clouds, in a virtual machine without
# hardware support, whose first process they are: vm.sh CACHE DIR REPORT FLAG... It ends with 9 without a kernel.
set -eu
cache=$1 dir=$2 report=$3
shift 3

image() { find "$cache" -name 'vmlinuz-*-cloud-amd64' | sort | tail -n 1; }
modules() { find "$cache" -name '*.ko' -path "*${1-}*"; }
# Of the package only the image is unpacked and what WireGuard needs: all modules would be 100 MB.
download() (
	cd "$cache"
	package=$(apt-cache depends --important linux-image-cloud-amd64 | grep -o 'linux-image-[0-9].*-cloud-amd64' | head -n 1)
	apt-get -o APT::Sandbox::User=root download "$package"
	dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x --wildcards './boot/vmlinuz-*' '*/drivers/net/wireguard/*.ko' '*/veth.ko' \
		'*/*udp_tunnel.ko' '*/lib/crypto/*.ko' '*/chacha-x86_64.ko' '*/poly1305-x86_64.ko' '*/curve25519-x86_64.ko' || : # not each is there
	rm "$package"_*.deb
)
if [ -z "$(image)" ] || [ -z "$(modules wireguard)" ]; then
	download || exit 9
fi

root=$dir/root
mkdir -p "$root/bin" "$root/dev" "$root/modules" "$root/proc" "$root/sbin" "$root/tmp"
mknod -m 600 "$root/dev/console" c 5 1
cp "$report" "$root/report"
export CGO_ENABLED=0
go test -c -o "$root/init" .
GOARCH=386 go build -C ../../../cmd/caplaunch -o "$root/caplaunch386" .
GOARCH=386 go build -C ../programs/testdata/status -o "$root/status386" .
go build -C ../../../cmd/caplaunch -o "$root/bin/caplaunch" .
cp testdata/tunnel.sh "$root"
cp ../../../examples/wireguard/up "$root/bin"
modules | xargs cp -t "$root/modules"
for command in ip wg busybox dash; do
	path=$(command -v "$command")
	cp -L "$path" "$root/sbin"
	{ ldd "$path" || :; } 2>/dev/null | grep -o '/[^ ]*' | xargs -r cp -L --parents -t "$root" # busybox needs nothing
done
mv "$root/sbin/dash" "$root/bin/sh"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$dir/initramfs"
exec qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m 1024 -nodefaults -no-user-config -display none -no-reboot \
	-serial stdio -kernel "$(image)" -initrd "$dir/initramfs" \
	-append "console=ttyS0 quiet panic=-1 no_timer_check ORACLE_VM=init -- $*"

#!/bin/sh
# Makes the release of HEAD twice and compares every byte: from two clones in two folders, and the second time, where this
# is run by root, as another user, with another home, umask, time zone and language, an empty build cache, files of
# another date, and a clock that says 2009 (Go's build tag faketime).
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
first=$work/first
second=$work/second/deeper
mkdir -p "$work/home"

git clone -q . "$first"
make -s -C "$first" release

git clone -q . "$second"
find "$second" -name .git -prune -o -exec touch -d 2001-02-03 {} +
as=
if [ "$(id -u)" = 0 ]; then
	chown -R 65532:65532 "$work/home" "$work/second"
	# DAC_OVERRIDE: the modules that have been downloaded may be root's alone.
	as="$first/dist/bin/linux-$(go env GOARCH)/caplaunch --caps=dac_override --user=65532:65532 --"
fi
umask 077
# shellcheck disable=SC2086 # a command and its arguments
env -i PATH="$PATH" HOME="$work/home" TZ=Asia/Tokyo LC_ALL=tr_TR.UTF-8 GOMODCACHE="$(go env GOMODCACHE)" GOPROXY="$(go env GOPROXY)" \
	GOFLAGS="-tags=faketime -modcacherw" $as make -s -C "$second" release

diff -r "$first/dist" "$second/dist"
echo "repro: $(find "$first/dist" -type f | wc -l) files, the same twice"

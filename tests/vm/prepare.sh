#!/bin/bash
# Makes what the test machine boots: Debian's own kernel (unpacked, not installed), v4l2loopback built against it, and an
# initramfs; and the program that measures the processor's clock. Kept in ${XDG_CACHE_HOME:-~/.cache}/stampcast-vm; made once
# (half a minute), and again when this recipe changes.
# The packages that it uses are installed by tests/run.sh; kernel headers, whose name holds a version, here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../scripts/setup.sh
. "$here/../../scripts/setup.sh"
PATH=$PATH:/usr/sbin:/sbin
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stampcast-vm
recipe=$(cat "$here/prepare.sh" "$here/init" "$here/tsc.c" | sha256sum | cut -d' ' -f1)

# What the first process needs to reach the host's files; everything else is loaded from there.
boot_modules=(virtio_pci virtio_net 9pnet_virtio 9p overlay)

kernel_version() {
    apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p' | head -n 1
}

# Unpacks the kernel package into $1/root; its modules are then at $1/root/lib/modules/VERSION.
unpack_kernel() {
    local into=$1 version=$2
    apt-get download -q "linux-image-$version" >/dev/null
    dpkg -x "linux-image-${version}"_*.deb "$into/root"
    # Debian 13 moved /lib to /usr/lib.
    [ -d "$into/root/lib" ] || ln -s usr/lib "$into/root/lib"
    depmod -b "$into/root" "$version"
    cp "$into/root/boot/vmlinuz-$version" "$into/vmlinuz"
}

build_v4l2loopback() {
    local into=$1 version=$2 source
    apt-get download -q v4l2loopback-dkms >/dev/null
    dpkg -x v4l2loopback-dkms_*.deb "$into/v4l2loopback"
    source=$(echo "$into"/v4l2loopback/usr/src/v4l2loopback-*)
    make -C "/usr/src/linux-headers-$version" M="$source" modules >"$into/v4l2loopback.log" 2>&1 || {
        cat "$into/v4l2loopback.log" >&2
        return 1
    }
    cp "$source/v4l2loopback.ko" "$into/"
    rm -r "$into/v4l2loopback"
}

# busybox, our init, and the boot modules numbered in the order in which they must be loaded.
build_initramfs() {
    local into=$1 version=$2 tree=$1/initramfs module file number=10
    mkdir -p "$tree"/{bin,dev,proc,sys,modules,new,host,layer}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    install -m 755 "$here/init" "$tree/init"
    for module in "${boot_modules[@]}"; do
        while read -r file; do
            compgen -G "$tree/modules/??-$(basename "${file%.xz}")" >/dev/null && continue
            case $file in
            *.xz) xz -dc "$file" >"$tree/modules/$number-$(basename "${file%.xz}")" ;;
            *) cp "$file" "$tree/modules/$number-$(basename "$file")" ;;
            esac
            number=$((number + 1))
        done < <(modprobe -d "$into/root" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p')
    done
    (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$into/initrd.gz"
    rm -r "$tree"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
[ "$(cat "$cache/recipe" 2>/dev/null)" != "$recipe" ] || exit 0

[ "$(uname -m)" = x86_64 ] || fail "the test machine boots an x86-64 Debian kernel: run the VM tests on an x86-64 host"
# Old lists name a kernel that the archive no longer has.
as_root apt-get update -q >&2 || say "apt-get update failed; going on with the lists that are here"
version=$(kernel_version)
[ -n "$version" ] || fail "apt knows no linux-image-amd64: the VM tests need Debian's package lists"
need "to build v4l2loopback" "linux-headers-$version" test -d "/usr/src/linux-headers-$version"
install_needed

work=$(mktemp -d "$cache/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
unpack_kernel "$work" "$version"
build_v4l2loopback "$work" "$version"
build_initramfs "$work" "$version"
cc -O2 -o "$work/tsc" "$here/tsc.c"
rm -f "$work"/*.deb
rm -rf "$cache"/{root,vmlinuz,v4l2loopback.ko,initrd.gz,tsc,recipe}
mv "$work"/{root,vmlinuz,v4l2loopback.ko,initrd.gz,tsc} "$cache/"
echo "$recipe" >"$cache/recipe"
say "the test machine is ready: Debian kernel $version in $cache"

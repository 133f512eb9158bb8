#!/bin/bash
# tests/aarch64.sh [--yes]: builds the program's tests for 64-bit ARM and runs, in QEMU, those of wire, ring and the
# encoders; then counts the instructions that a 640x480 frame takes. Installs what it needs; `--yes`: without asking.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
. scripts/setup.sh
if [ "${1:-}" = --yes ]; then
    # shellcheck disable=SC2034 # setup.sh reads it
    assume_yes=true
fi

target=aarch64-unknown-linux-gnu
libraries=/usr/lib/aarch64-linux-gnu

need_arm() {
    need_to_build
    need "to compile for ARM" gcc-aarch64-linux-gnu have aarch64-linux-gnu-gcc
    need "to compile for ARM" g++-aarch64-linux-gnu have aarch64-linux-gnu-g++
    need "to run ARM programs" qemu-user have qemu-aarch64
    if ! [ -e $libraries/pkgconfig/alsa.pc ]; then
        have dpkg || fail "ALSA's library for ARM is missing; put it, with its alsa.pc, in $libraries"
        [ "$(dpkg --print-architecture)" = arm64 ] || dpkg --print-foreign-architectures | grep -qx arm64 || {
            confirm "Let apt-get install packages of the architecture arm64, too?" ||
                fail "allow it, then run this again: dpkg --add-architecture arm64"
            as_root dpkg --add-architecture arm64
        }
        need "to link with ALSA for ARM" libasound2-dev:arm64 false
    fi
    install_needed
    local sysroot
    sysroot=$(rustc --print sysroot)
    [ -d "$sysroot/lib/rustlib/$target" ] && return 0
    have rustup || fail "Rust's library for $target is missing; install your system's package for it"
    confirm "Add Rust's library for $target with rustup?" || fail "add it, then run this again: rustup target add $target"
    rustup target add $target
}

# The optimised build, as its instructions are counted; link-time optimisation would double the wait.
cross() {
    local verb=$1
    shift
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /" \
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_PATH_aarch64_unknown_linux_gnu=$libraries/pkgconfig \
        cargo "$verb" --locked --release --target $target --no-default-features --features turbojpeg "$@"
}

# executed PATH FRAMES: the instructions of one run.
executed() {
    qemu-aarch64 -L / -plugin "$work/count.so" -d plugin -D "$work/log" \
        "${CARGO_TARGET_DIR:-target}/$target/release/examples/frames" "$1" "$2" && cat "$work/log"
}

need_arm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cross test --lib -- wire:: ipc::ring:: encode::jpeg:: encode::pipeline::

# The plugin API that QEMU 9 and later ask for at least; those before 8.2 know only the first.
api=$(($(qemu-aarch64 --version | sed -n '1s/.*version \([0-9]*\).*/\1/p') >= 9 ? 2 : 1))
cc -shared -fPIC -O2 -Wall -Wextra -Werror -DAPI=$api -o "$work/count.so" tests/aarch64/count.c
cross build --example frames
for path in turbojpeg jpeg-encoder text; do
    few=$(executed $path 8)
    many=$(executed $path 40)
    # What more frames take more: start and end do not count.
    echo "640x480 YUYV, $path: $(((many - few) / 32)) instructions per frame"
done

#!/bin/bash
# generate.sh: writes src/source/v4l2/abi/layout.rs, the sizes, offsets, ioctl numbers and constants
# of linux/videodev2.h as the C compilers for x86-64, arm64 and armv7 see them. To be run when
# src/source/v4l2/abi/mod.rs gets a new structure, field or ioctl. Needs Debian's gcc,
# gcc-aarch64-linux-gnu and gcc-arm-linux-gnueabihf with their libc6-dev-*-cross.
#
# Nothing is executed for the other machines: the values are read from the compilers' assembly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
list=tests/v4l2-abi/list.txt
target=src/source/v4l2/abi/layout.rs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each line of the list that says something becomes one line of assembly.
awk '
    BEGIN {
        print "#include <stddef.h>"
        print "#include <sys/time.h>"
        print "#include <linux/videodev2.h>"
        print "#define SAY(text, value) __asm__ volatile(\"@@ \" text \" %c0\" :: \"i\"((unsigned)(value)))"
        print "void list(void) {"
    }
    /^#/ || NF == 0 { next }
    $1 == "struct" { struct = $2; c = "struct " ($3 ? $3 : $2); printf "SAY(\"size %s\", sizeof(%s));\n", struct, c; next }
    $1 == "ioctl" { printf "SAY(\"ioctl %s\", VIDIOC_%s);\n", tolower($2), $2; next }
    $1 == "const" { for (i = 2; i <= NF; i++) printf "SAY(\"const %s\", %s);\n", $i, $i; next }
    { rust = $1; member = NF > 1 ? $2 : $1; printf "SAY(\"offset %s %s\", offsetof(%s, %s));\n", struct, rust, c, member }
    END { print "}" }
' "$list" >"$work/list.c"

# compiled COMPILER [OPTION…]: the values, a line each.
compiled() { "$@" -O1 -S -o - "$work/list.c" | sed -n 's/.*@@ \(.*\) #\{0,1\}\([0-9-]*\)$/\1 \2/p'; }

compiled gcc >"$work/x86-64"
compiled aarch64-linux-gnu-gcc >"$work/arm64"
# With 64-bit times the C library's timeval and timespec have the kernel's own layout.
compiled arm-linux-gnueabihf-gcc -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 >"$work/armv7"
cmp "$work/x86-64" "$work/arm64" || { echo "x86-64 and arm64 differ" >&2; exit 1; }
[ "$(wc -l <"$work/x86-64")" = "$(wc -l <"$work/armv7")" ]

# assertions VALUES: as the body of a Rust constant.
assertions() {
    awk '
        function hex(n) { n = n < 0 ? n + 4294967296 : n; return sprintf("0x%04x_%04x", int(n / 65536), n % 65536) }
        $1 == "size" { printf "    assert!(size_of::<%s>() == %d);\n", $2, $3 }
        $1 == "offset" { printf "    assert!(offset_of!(%s, %s) == %d);\n", $2, $3, $4 }
        $1 == "ioctl" { printf "    assert!(number::%s as u32 == %s);\n", $2, hex($3) }
        $1 == "const" { printf "    assert!(%s == %s);\n", $2, hex($3) }
    ' "$1"
}
{
    echo "//! What the C compilers say of \`linux/videodev2.h\`, checked at compile time: sizes and offsets of"
    echo "//! the structures in \`mod.rs\`, ioctl numbers, constants. Written by tests/v4l2-abi/generate.sh."
    echo
    echo "use super::ioctl::number;"
    echo "use super::*;"
    echo "use std::mem::offset_of;"
    echo
    echo "/// x86-64 and arm64, and other 64-bit machines that number ioctls as they do."
    echo '#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]'
    echo "const _: () = {"
    grep -v ^const "$work/x86-64" | assertions -
    echo "};"
    echo
    echo "/// armv7, with 64-bit times."
    echo '#[cfg(target_arch = "arm")]'
    echo "const _: () = {"
    grep -v ^const "$work/armv7" | assertions -
    echo "};"
    echo
    echo "/// The same on all machines."
    echo "const _: () = {"
    grep ^const "$work/x86-64" | assertions -
    echo "};"
} >"$work/layout.rs"
diff <(grep ^const "$work/x86-64") <(grep ^const "$work/armv7") >/dev/null
rustfmt --edition 2024 "$work/layout.rs"
cp "$work/layout.rs" "$target"
echo "wrote $(grep -c assert "$target") assertions to $target" >&2

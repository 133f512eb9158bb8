#!/bin/bash
# boot.sh [-t SECONDS] [-s DIR] -- COMMAND…: boots the test machine, runs COMMAND in it as root, powers it off and exits
# with COMMAND's status (97: the machine did not boot or did not finish in SECONDS, 3600 unless told).
#
# The machine sees the host's files as its own, at the same paths; what it writes stays in its memory, but for DIR,
# which it sees as /mnt. It has real capture drivers and no network but loopback. Five seconds on a quiet host.
#
# Software emulation, though a KVM may be there: the drivers' timing is then the same on every host, and a nested or
# para-virtual KVM (as CI machines have) can abort QEMU after it has been chosen, too late to fall back.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rig=${XDG_CACHE_HOME:-$HOME/.cache}/stampcast-vm
seconds=3600
share=
while getopts t:s: option; do
    case $option in
    t) seconds=$OPTARG ;;
    s) share=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

"$here/prepare.sh"
if [ -z "$share" ]; then
    share=$(mktemp -d)
    trap 'rm -rf "$share"' EXIT
fi
rm -f "$share/status" "$share/figures"
command=("$@")
{
    declare -p rig command
    cat "$here/guest.sh"
} >"$share/guest.sh"

# `tsc=reliable`: else the kernel distrusts the emulated counter and every clock read takes microseconds. A kernel that boots
# while its host is busy also measures that counter wrongly (tsc.c) and believes that its timer does not work, and panics
# (`no_timer_check`).
timeout --foreground "$seconds" qemu-system-x86_64 \
    -accel tcg,thread=multi -cpu max -smp 2 -m 1536 \
    -nodefaults -no-user-config -nographic -vga none -serial stdio -no-reboot \
    -kernel "$rig/vmlinuz" -initrd "$rig/initrd.gz" \
    -append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable tsc_early_khz=$("$rig/tsc") clocksource=tsc no_timer_check random.trust_cpu=on" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -virtfs "local,path=$share,mount_tag=share,security_model=none,multidevs=remap" \
    </dev/null 2>&1 | tee "$share/console.log" | sed -u -n 's/\r//g; s/^.*\(VM up\)/\1/; /^VM /,$p' &
wait $! || true

# What the tests measured.
[ ! -s "$share/figures" ] || cat "$share/figures"
if [ ! -s "$share/status" ]; then
    echo "VM ended without a result after at most $seconds s; the end of what it said:" >&2
    tail -n 40 "$share/console.log" >&2
    exit 97
fi
exit "$(cat "$share/status")"

# Runs inside the test machine, as root: loads the capture drivers, runs the command, powers off. boot.sh puts two
# variables in front of it: `rig` (the directory that prepare.sh filled) and `command` (an array).
# shellcheck shell=bash disable=SC2154

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
hostname stampcast-vm
uptime_s() { cut -d' ' -f1 /proc/uptime; }
load() { modprobe -d "$rig/root" "$@" || echo "VM cannot load $1"; }

# Only emergencies may interrupt the tests' output.
echo 1 >/proc/sys/kernel/printk
echo "VM up after $(uptime_s) s"

# Two cameras with raw formats; the second has a metadata node beside it, as UVC cameras do. And an HDMI input.
load vivid n_devs=3 node_types=0x1,0x20001,0x1 input_types=0,0,3
# vivid has loaded what v4l2loopback needs (videodev). The second device takes a new writer while it is read.
insmod "$rig/v4l2loopback.ko" devices=2 video_nr=20,21 exclusive_caps=1,0 card_label=Loopback,Shared max_buffers=4 || echo "VM cannot load v4l2loopback"
load snd-aloop index=0 id=Loopback pcm_substreams=2
load snd-hrtimer
# The USB host controller into which tests/vm/fakeusb plugs, and the drivers of what it plugs in.
load vhci-hcd
load uvcvideo
load snd-usb-audio

echo "VM drivers loaded after $(uptime_s) s"
"${command[@]}"
echo $? >/mnt/status
echo "VM done after $(uptime_s) s"
sync
echo o >/proc/sysrq-trigger
# The machine goes off under us.
while :; do :; done

#!/bin/bash
# tests/run.sh [--yes] [STAGE…]: installs what the tests need, then runs all stages, or only those named. `--yes`, as the
# first argument, installs without asking. A stage that lacks something fails and says how to get it; one line at the end
# counts the stages, and the exit code is 1 when any failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
. scripts/setup.sh

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit 0
fi
if [ "${1:-}" = --yes ]; then
    # shellcheck disable=SC2034 # setup.sh reads it
    assume_yes=true
    shift
fi

all_stages=(scripts fmt clippy test doc miri fuzz release soak page examples clients peers vm)
stages=("${@:-${all_stages[@]}}")
for stage in "${stages[@]}"; do
    [[ " ${all_stages[*]} " == *" $stage "* ]] || fail "there is no stage $stage; the stages are: ${all_stages[*]}"
done

wants() { [[ " ${stages[*]} " == *" $1 "* ]]; }

need_to_test() {
    need_to_build
    if wants scripts; then
        need "to check the scripts" shellcheck have shellcheck
    fi
    if wants soak; then
        need "to run the soak" python3 have python3
    fi
    if wants page; then
        need "to open the page" chromium have chromium
        need "to run the page tests" nodejs have node
        need "to run the page tests" npm have npm
    fi
    if wants examples; then
        need "to run the Python examples" python3-venv python3 -c 'import ensurepip, venv'
        need "to run the JavaScript examples" nodejs have node
        need "to run the shell example" curl have curl
    fi
    if wants clients; then
        need "to try the HTTP outputs" curl have curl
        need "to try the HTTP outputs" ffmpeg have ffmpeg
        need "to try OpenCV" python3-venv python3 -c 'import ensurepip, venv'
        need "to try GStreamer" gstreamer1.0-tools have gst-launch-1.0
        need "to try GStreamer" gstreamer1.0-plugins-good gst_plugin_there soup
        need "to check the metrics" prometheus have promtool
        need "to try VLC" vlc-bin have cvlc
        need "to try VLC" vlc-plugin-base vlc_plugins_there
    fi
    if wants peers; then
        need "to run aiortc" python3-venv python3 -c 'import ensurepip, venv'
        need "to make a player's certificate" openssl have openssl
        need "to play with GStreamer" python3-gi test -e /usr/lib/python3/dist-packages/gi/__init__.py
        need "to play with GStreamer" gir1.2-gst-plugins-bad-1.0 gir_there GstWebRTC-1.0
        need "to play with GStreamer" gstreamer1.0-plugins-base gst_plugin_there opus
        need "to play with GStreamer" gstreamer1.0-plugins-good gst_plugin_there rtp
        need "to play with GStreamer" gstreamer1.0-plugins-bad gst_plugin_there webrtc
        need "to play with GStreamer" gstreamer1.0-nice gst_plugin_there nice
    fi
    if wants vm; then
        # Also where there is no root's PATH.
        PATH=$PATH:/usr/sbin:/sbin
        need "to boot the test machine" qemu-system-x86 have qemu-system-x86_64
        need "to boot the test machine" busybox-static test -x /bin/busybox
        need "to boot the test machine" cpio have cpio
        need "to load drivers in the test machine" kmod have modprobe
        need "to unpack kernel modules" xz-utils have xz
        need "to drive the tests' cameras" v4l-utils have v4l2-ctl
        need "to drive the tests' cameras" ffmpeg have ffmpeg
        need "to drive the tests' sound cards" alsa-utils have aplay
        need "to run the speech example" python3-venv python3 -c 'import ensurepip, venv'
        need "to speak to the speech example" espeak-ng have espeak-ng
    fi
}

vlc_plugins_there() { compgen -G "/usr/lib/*/vlc/plugins/video_filter/libscene_plugin.so"; }
gst_plugin_there() { compgen -G "/usr/lib/*/gstreamer-1.0/libgst$1.so"; }

gir_there() { compgen -G "/usr/lib/*/girepository-1.0/$1.typelib"; }

# rustup's `minimal` profile, which setup.sh installs, is without these.
need_cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    have rustup || fail "cargo $1 is missing; install your system's package for it"
    confirm "Add $2 to the Rust toolchain with rustup?" || fail "add it, then run this again: rustup component add $2"
    rustup component add "$2"
}

stage_scripts() {
    shellcheck run.sh .ci/run fuzz/*.sh scripts/*.sh tests/*.sh tests/vm/*.sh
}

stage_fmt() {
    need_cargo_tool fmt rustfmt
    cargo fmt --all --check
}

# A plain --all-targets leaves out targets with `test = false`.
stage_clippy() {
    need_cargo_tool clippy clippy
    cargo clippy --locked --all-targets --test vm -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
}

# The smallest build is linted above; here it runs.
stage_test() {
    cargo test --locked
    cargo test --locked --no-default-features --lib --test program
}

stage_doc() {
    # The rooms' own headers speak of their private files, and `--help` shows addresses as they are typed. With the examples, because
    # they need the tests' dependencies: without, thirty crates would be checked anew with fewer features.
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links -A rustdoc::bare-urls" \
        cargo doc --locked --no-deps --document-private-items --lib --examples
}

# The ring's core under the interpreter that knows Rust's memory model. (Its interleavings, under loom, are part of `test`.)
stage_miri() {
    cargo +nightly miri --version >/dev/null 2>&1 ||
        rustup toolchain install nightly --profile minimal --component miri,rust-src || {
        say "Miri is missing; get it with: rustup toolchain install nightly --component miri,rust-src"
        return 1
    }
    cargo +nightly miri test --locked --no-default-features --lib --target-dir target/miri ipc::ring::core_tests
}

# What a mutation of the corpora finds in a fixed number of runs; longer: tests/fuzz.sh 10000000.
stage_fuzz() {
    tests/fuzz.sh 20000
}

stage_release() {
    build_release
}

stage_soak() {
    tests/soak.sh 1
}

stage_page() {
    build_release
    (cd tests/page && npm ci --no-audit --no-fund)
    node tests/page/run.mjs
}

stage_examples() {
    build_release
    tests/examples.sh "$(released_program)"
}

# The programs that people point at such a server: curl, ffmpeg, OpenCV, GStreamer, Prometheus' own checker.
stage_clients() {
    build_release
    tests/clients.sh "$(released_program)"
}

# Other makers' WebRTC: aiortc, GStreamer.
stage_peers() {
    build_release
    tests/peers.sh "$(released_program)"
}

# The test program and the program under test are built here and run in the test machine, which sees our files.
stage_vm() {
    build_release
    cargo build --locked --example fakeusb
    tests/examples-python.sh
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/tests/vm/boot.sh --" \
        cargo test --locked --test vm -- --test-threads=1
}

need_to_test
install_needed

passed=()
failed=()
for stage in "${stages[@]}"; do
    printf '\n==== %s\n' "$stage"
    began=$SECONDS
    # Not in a condition: that would switch off `set -e` inside the stage.
    set +e
    (
        set -e
        "stage_$stage"
    )
    status=$?
    set -e
    if [ $status = 0 ]; then
        passed+=("$stage")
        printf '==== %s: passed in %s s\n' "$stage" $((SECONDS - began))
    else
        failed+=("$stage")
        printf '==== %s: FAILED (exit code %s) in %s s\n' "$stage" $status $((SECONDS - began))
    fi
done

printf '\nstages: %s passed, %s failed in %s s\n' ${#passed[@]} ${#failed[@]} $SECONDS
[ ${#failed[@]} = 0 ] || {
    printf 'failed: %s\n' "${failed[*]}"
    exit 1
}

#!/bin/bash
# tests/run.sh [--yes] [STAGE…]: installs what the tests need, then runs all stages, or only those named. `--yes`, as the
# first argument, installs without asking. A stage that lacks something fails and says how to get it; one line at the end
# counts the stages, and the exit code is 1 when any failed.
#
# What is to be run is compiled first. Then three lanes run side by side: the test machine; the other stages that mostly wait,
# for frames, for a browser; and, with the lowest priority, those that compute. So two cores are busy all the time, and what is
# timed hardly notices. What a stage printed is shown when it has ended.
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
lanes=("vm" "test page clients peers examples soak" "scripts fmt fuzz clippy doc miri")
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
    shellcheck run.sh .ci/run benches/*.sh fuzz/*.sh scripts/*.sh tests/*.sh tests/*/*.sh
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

# tests_of ARGUMENT…: compiles what `cargo test ARGUMENT…` runs and keeps the programs' names in target/run: cargo would
# lock the directory again to run them, and wait for whoever compiles there.
tests_of() {
    cargo test --locked --no-run --message-format json-render-diagnostics "$@" |
        sed -n 's/.*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1/p'
}

# Which programs a stage's tests are: made by build_test and build_vm.
programs=target/run

# The program under test has one path, which the tests have compiled in, whatever its features are.
debug=${CARGO_TARGET_DIR:-target}/debug

build_test() {
    tests_of >$programs/test
    cp "$debug/stampcast" $programs/stampcast-full
    tests_of --no-default-features --lib --test it >$programs/smallest
    cp "$debug/stampcast" $programs/stampcast-smallest
    # Else nothing would be run, and pass.
    [ -s $programs/test ] && [ -s $programs/smallest ]
}

# The smallest build is linted above; here its own tests run, and those of the whole program. Four at once: most of them wait.
stage_test() {
    local program list
    use_program full
    mapfile -t list <$programs/test
    for program in "${list[@]}"; do
        "$program" --test-threads=4 </dev/null
    done
    use_program smallest
    mapfile -t list <$programs/smallest
    for program in "${list[@]}"; do
        case $program in
        */it-*) "$program" --test-threads=4 program:: </dev/null ;;
        *) "$program" </dev/null ;;
        esac
    done
}

# use_program full|smallest: puts that build where the tests look for it. It is a hard link there.
use_program() { cp --remove-destination "$programs/stampcast-$1" "$debug/stampcast"; }

stage_doc() {
    # Headers of folders link to private items, and `--help` shows addresses as they are typed. With the examples: they need the
    # tests' dependencies, without which thirty crates would be checked again with fewer features.
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links -A rustdoc::bare-urls" \
        cargo doc --locked --no-deps --document-private-items --lib --examples
    cargo test --locked --doc
}

# The ring's core under the interpreter that knows Rust's memory model. (Its interleavings, under loom, are part of `test`.)
stage_miri() {
    cargo +nightly miri --version >/dev/null 2>&1 ||
        rustup toolchain install nightly --profile minimal --component miri,rust-src || {
        say "Miri is missing; get it with: rustup toolchain install nightly --component miri,rust-src"
        return 1
    }
    cargo +nightly miri test --locked --no-default-features --lib --target-dir target/miri \
        -- ipc::ring::core_tests ipc::seqlock ipc::control
}

# A fixed number of mutations of the corpora; longer: tests/fuzz.sh 10000000.
stage_fuzz() {
    tests/fuzz.sh 20000
}

stage_release() {
    build_release
}

stage_soak() {
    python3 tests/soak/soak.py "$(released_program)" 1 target/soak.svg
}

stage_page() {
    (cd tests/page && npm ci --no-audit --no-fund)
    STAMPCAST=$(released_program) node tests/page/run.mjs
}

build_examples() {
    cargo build --locked --example read_stream
}

stage_examples() {
    tests/examples.sh "$(released_program)" target/debug/examples/read_stream
}

# Clients that people use with such a server: curl, ffmpeg, OpenCV, GStreamer, Prometheus' own checker.
stage_clients() {
    tests/clients.sh "$(released_program)"
}

# WebRTC with other implementations: aiortc, GStreamer.
stage_peers() {
    tests/peers.sh "$(released_program)"
}

# The test program and the program under test are built here and run in the test machine, which sees our files. The machine is
# made here too: that may ask for a password.
build_vm() {
    tests/vm/prepare.sh
    cargo build --locked --example fakeusb
    tests_of --test vm >$programs/vm
}

stage_vm() {
    tests/examples-python.sh
    tests/vm/boot.sh -- "$(cat $programs/vm)" --test-threads=1
}

need_to_test
install_needed

# Of each stage that has ended: its name in `passed` or `failed`, what it printed, what it took of the processor.
results=$(mktemp -d)
: >"$results/passed"
: >"$results/failed"
rm -rf $programs
mkdir -p $programs
trap 'rm -rf "$results"' EXIT

# run_part NAME FUNCTION: in a shell of its own; takes down how it ended, and says so.
run_part() {
    local name=$1 began=$SECONDS status
    # Not in a condition: that would switch off `set -e` inside.
    (
        set -e
        # shellcheck disable=SC2064 # the name of now
        trap "times >'$results/$name.times'" EXIT
        "$2"
    )
    status=$?
    local took
    took="$((SECONDS - began)) s (processor: $(sed -n '2s/ / user, /p' "$results/$name.times") system)"
    if [ $status = 0 ]; then
        [[ $name == *" "* ]] || echo "$name" >>"$results/passed"
        printf '==== %s: passed in %s\n' "$name" "$took"
    else
        echo "$name" >>"$results/failed"
        printf '==== %s: FAILED (exit code %s) in %s\n' "$name" $status "$took"
    fi
}

run_lane() {
    local stage
    # A stage that computes leaves the processor to those that are timed.
    [[ "scripts fmt fuzz clippy doc miri" != *"$1"* ]] || renice -n 19 -p $BASHPID >/dev/null
    for stage in "$@"; do
        if $alone; then
            printf '\n==== %s\n' "$stage"
            run_part "$stage" "stage_$stage"
        else
            run_part "$stage" "stage_$stage" >"$results/$stage.log" 2>&1
            (
                flock 9
                printf '\n==== %s\n' "$stage"
                cat "$results/$stage.log"
            ) 9>"$results/lock"
        fi
    done
}

wants_any() {
    local stage
    for stage in "$@"; do
        if wants "$stage"; then return 0; fi
    done
    return 1
}

# A first compilation has nothing to go on from, and need not prepare for the next one.
[ -d "${CARGO_TARGET_DIR:-target}/debug/incremental" ] || export CARGO_INCREMENTAL=0

# What an earlier run built is not what this one tests. (Cargo links it again where nothing changed.)
rm -f "$(released_program)"

set +e
if wants release; then
    run_part release stage_release
elif wants_any soak page examples clients peers vm; then
    run_part "compile release" stage_release
fi
if wants test; then run_part "compile test" build_test; fi
if wants vm; then run_part "compile vm" build_vm; fi
if wants examples; then run_part "compile examples" build_examples; fi

used=()
for lane in "${lanes[@]}"; do
    # shellcheck disable=SC2086 # a lane is a list
    chosen=$(for stage in $lane; do if wants "$stage"; then echo "$stage"; fi; done)
    [ -z "$chosen" ] || used+=("$chosen")
done
alone=true
[ ${#used[@]} -le 1 ] || alone=false

# With job control each lane is a process group, which can be ended whole, and does not ignore SIGINT, as the program under
# test then would too.
set -m
running=()
for lane in "${used[@]}"; do
    # shellcheck disable=SC2086 # a lane is a list
    (
        set +m
        run_lane $lane
    ) </dev/null &
    running+=($!)
done
set +m
trap 'kill -- "${running[@]/#/-}" 2>/dev/null; exit 1' INT TERM
wait

mapfile -t passed <"$results/passed"
mapfile -t failed <"$results/failed"
# A stage that left no word did not pass either: the disk was full, or its lane was killed.
for stage in "${stages[@]}"; do
    [[ " ${passed[*]} ${failed[*]} " == *" $stage "* ]] || failed+=("$stage (no result)")
done
printf '\nstages: %s passed, %s failed in %s s\n' ${#passed[@]} ${#failed[@]} $SECONDS
[ ${#failed[@]} = 0 ] || {
    printf 'failed: %s\n' "${failed[*]}"
    exit 1
}

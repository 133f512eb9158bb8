#!/bin/bash
# tests/run.sh [--yes] [STAGE…]: installs what the tests need, then runs all stages, or only those
# named. `--yes`, as the first argument, installs without asking. A stage that lacks something fails
# and says how to get it; one line at the end counts the stages, and the exit code is 1 if any
# failed.
#
# What is to be run is compiled first. Then three groups of stages run side by side: the virtual
# machine; the other stages that mostly wait, for frames or for a browser; and, at the lowest
# priority, those that compute. So two cores are always busy, and timed tests are hardly disturbed.
# The output of a stage is shown when the stage has ended.
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
groups=("vm" "test page clients peers examples soak" "scripts fmt fuzz clippy doc miri")
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

# tests_of ARGUMENT…: compiles what `cargo test ARGUMENT…` runs and prints the paths of the
# programs, which are kept in target/run: to run them, cargo would lock the directory again, and
# wait for other compilations there.
tests_of() {
    cargo test --locked --no-run --message-format json-render-diagnostics "$@" |
        sed -n 's/.*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1/p'
}

# Lists of the test programs of a stage, written by build_test and build_vm.
programs=target/run

# The program under test has one path, which is compiled into the tests, whatever its features are.
debug=${CARGO_TARGET_DIR:-target}/debug

build_test() {
    tests_of >$programs/test
    cp "$debug/stampcast" $programs/stampcast-full
    tests_of --no-default-features --lib --test it >$programs/smallest
    cp "$debug/stampcast" $programs/stampcast-smallest
    # Otherwise no test would run, and the stage would pass.
    [ -s $programs/test ] && [ -s $programs/smallest ]
}

# The smallest build is linted above; here its own tests run, and those of the whole program. Four
# at once: most of them wait. All of them run, also after a failure.
stage_test() {
    local program list failures=()
    use_program full
    mapfile -t list <$programs/test
    for program in "${list[@]}"; do
        "$program" --test-threads=4 </dev/null || failures+=("$program")
    done
    use_program smallest
    mapfile -t list <$programs/smallest
    for program in "${list[@]}"; do
        case $program in
        */it-*) run_filtered "$program" program:: --test-threads=4 || failures+=("$program (smallest)") ;;
        *) "$program" </dev/null || failures+=("$program (smallest)") ;;
        esac
    done
    [ ${#failures[@]} = 0 ] || {
        say "failed test programs: ${failures[*]}"
        return 1
    }
}

# run_filtered PROGRAM FILTER ARGUMENT…: fails if FILTER matches no test, which would pass
# otherwise.
run_filtered() {
    local program=$1 filter=$2 tests
    shift 2
    tests=$("$program" --list "$filter" </dev/null) || return 1
    matched_all "$(sed -n 's/: test$//p' <<<"$tests")" "$filter" || return 1
    "$program" "$filter" "$@" </dev/null
}

# matched_all NAMES FILTER…: whether each FILTER is in one of the test NAMES, one per line.
matched_all() {
    local names=$1 filter
    shift
    for filter in "$@"; do
        grep -qF -- "$filter" <<<"$names" || {
            say "no test matches $filter"
            return 1
        }
    done
}

# use_program full|smallest: puts that build where the tests look for it. It is a hard link there.
use_program() { cp --remove-destination "$programs/stampcast-$1" "$debug/stampcast"; }

stage_doc() {
    # Headers of folders link to private items, and `--help` shows addresses as they are typed. With
    # the examples: they need the tests' dependencies, without which thirty crates would be checked
    # again with fewer features.
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links -A rustdoc::bare-urls" \
        cargo doc --locked --no-deps --document-private-items --lib --examples
    cargo test --locked --doc
}

# The ring's core under Miri, which checks it against Rust's memory model. (loom checks its
# interleavings; that is part of `test`.)
stage_miri() {
    cargo +nightly miri --version >/dev/null 2>&1 ||
        rustup toolchain install nightly --profile minimal --component miri,rust-src || {
        say "Miri is missing; get it with: rustup toolchain install nightly --component miri,rust-src"
        return 1
    }
    local filters=(ipc::ring::core_tests ipc::seqlock ipc::control)
    cargo +nightly miri test --locked --no-default-features --lib --target-dir target/miri \
        -- "${filters[@]}" | tee "$results/miri.out"
    matched_all "$(sed -n 's/^test //p' "$results/miri.out")" "${filters[@]}"
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

# Common clients: curl, ffmpeg, OpenCV, GStreamer, Prometheus' own checker.
stage_clients() {
    tests/clients.sh "$(released_program)"
}

# WebRTC with other implementations: aiortc, GStreamer.
stage_peers() {
    tests/peers.sh "$(released_program)"
}

# The tests and the program under test are built on this machine and run in the virtual machine,
# which mounts this directory. The virtual machine is made here, too: that may ask for a password.
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

# For each stage that has ended: its name in `passed` or `failed`, its output, its processor time.
results=$(mktemp -d)
: >"$results/passed"
: >"$results/failed"
rm -rf $programs
mkdir -p $programs
trap 'rm -rf "$results"' EXIT

# run_part NAME FUNCTION: runs it in a shell of its own; records and prints the result.
run_part() {
    local name=$1 began=$SECONDS status
    # Not in a condition, which would disable `set -e` inside.
    (
        set -e
        # shellcheck disable=SC2064 # expanded now
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

run_group() {
    local stage
    # Stages that compute have a lower priority than those that are timed.
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

# A first compilation cannot be incremental.
[ -d "${CARGO_TARGET_DIR:-target}/debug/incremental" ] || export CARGO_INCREMENTAL=0

# So that this run cannot test what an earlier one built. (Cargo links it again where nothing
# changed.)
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
for group in "${groups[@]}"; do
    # shellcheck disable=SC2086 # a group is a list
    chosen=$(for stage in $group; do if wants "$stage"; then echo "$stage"; fi; done)
    [ -z "$chosen" ] || used+=("$chosen")
done
alone=true
[ ${#used[@]} -le 1 ] || alone=false

# With job control each group of stages is a process group, which can be ended as a whole, and
# SIGINT is not ignored: otherwise the program under test would ignore it, too.
set -m
running=()
for group in "${used[@]}"; do
    # shellcheck disable=SC2086 # a group is a list
    (
        set +m
        run_group $group
    ) </dev/null &
    running+=($!)
done
set +m
trap 'kill -- "${running[@]/#/-}" 2>/dev/null; exit 1' INT TERM
wait

mapfile -t passed <"$results/passed"
mapfile -t failed <"$results/failed"
# A stage without a result has failed: the disk was full, or its group was killed. Whole lines are
# compared: "compile test" is not the result of "test".
for stage in "${stages[@]}"; do
    cat "$results/passed" "$results/failed" | grep -qxF "$stage" || failed+=("$stage (no result)")
done
printf '\nstages: %s passed, %s failed in %s s\n' ${#passed[@]} ${#failed[@]} $SECONDS
[ ${#failed[@]} = 0 ] || {
    printf 'failed: %s\n' "${failed[*]}"
    exit 1
}

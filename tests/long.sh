#!/bin/bash
# tests/long.sh: what takes longer than a minute: five minutes of clicks through the loopback sound card, whose stamps must
# not drift (tests/vm/stamps.rs), and a minute of audio on a busy machine without an overrun (tests/vm/audio.rs); ten minutes
# of the page with a sound card that runs 200 ppm fast, in which picture and sound must stay together; the page's targets
# (needs a quiet machine); ten thousand idle connections; thirty WebRTC viewers; twenty minutes of viewers and kills (tests/soak.sh).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
. scripts/setup.sh

need_to_build
install_needed
build_release
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/tests/vm/boot.sh --" \
    cargo test --locked --test vm -- --test-threads=1 --ignored

cargo test --locked --test it -- --ignored --nocapture limits::
cargo test --locked --release --test it -- --ignored --nocapture webrtc::
tests/soak.sh 20

(cd tests/page && npm ci --no-audit --no-fund)
node tests/page/measure.mjs --check
node tests/page/measure.mjs --fake --seconds 600 --skew-ppm 200 --check

#!/bin/bash
# run.sh [--yes] OPTIONS…: installs what is missing, builds stampcast and becomes it, with OPTIONS. A second start finds
# everything there and takes no time. `--yes`, as the first argument, installs without asking.
#
#     ./run.sh --camera-type usb --enable-audio
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

if [ "${1:-}" = --yes ]; then
    # shellcheck disable=SC2034 # setup.sh reads it
    assume_yes=true
    shift
fi

need_to_build
install_needed
need_rust
build_release
exec "$(released_program)" "$@"

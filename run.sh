#!/bin/bash
# run.sh [--yes] OPTIONS…: installs missing packages, builds stampcast and runs it with OPTIONS.
# From the second start on there is nothing to install or build. `--yes` installs without asking.
#
#     ./run.sh --camera-type usb --enable-audio
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

options=()
for option in "$@"; do
    # shellcheck disable=SC2034 # setup.sh reads it
    case $option in
    --yes) assume_yes=true ;;
    -h | --help)
        # The program may not be built yet; help should not take minutes.
        if [ ! -x "$(released_program)" ]; then
            sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            echo "All options are in README.md, and in stampcast --help once it is built."
            exit 0
        fi
        options+=("$option")
        ;;
    *) options+=("$option") ;;
    esac
done

need_to_build
install_needed
build_release
exec "$(released_program)" "${options[@]}"

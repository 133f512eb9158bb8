#!/bin/bash
# run.sh [--yes] OPTIONS…: installs what is missing, builds stampcast and becomes it, with OPTIONS. A second start finds
# everything there and takes no time. `--yes` installs without asking.
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
        # Nobody wants to wait for a compiler to learn what this is.
        if [ ! -x "$(released_program)" ]; then
            sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            echo "All options are in README.md; stampcast itself explains them once it is built."
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

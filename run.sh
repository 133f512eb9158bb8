#!/bin/bash
# run.sh [--yes] OPTIONS…: installs missing packages, builds stampcast and runs it with OPTIONS.
# From the second start on there is nothing to install or build. `--yes` installs without asking.
#
#     ./run.sh --camera-type usb --enable-audio
set -euo pipefail

# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

# `ps` shows the arguments of this script, and /proc the environment of all that it starts, for as long
# as the build takes. So tokens are taken out of both first: the script starts itself again without
# them, reads them from a descriptor, and hands them to stampcast alone, by its environment, from which
# stampcast removes them.
if [ -n "${STAMPCAST_RUN_SECRETS:-}" ]; then
    mapfile -d '' -t secrets <&3
    exec 3<&-
    unset STAMPCAST_RUN_SECRETS
else
    secrets=()
    take_secrets "$@"
    if [ ${#secrets[@]} -gt 0 ]; then
        exec 3< <(printf '%s\0' "${secrets[@]}")
        STAMPCAST_RUN_SECRETS=3 exec bash "${BASH_SOURCE[0]}" "${others[@]}"
    fi
fi

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
for secret in "${secrets[@]}"; do export "${secret?}"; done
exec "$(released_program)" "${options[@]}"

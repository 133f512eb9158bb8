# What run.sh and tests/run.sh share: saying things, installing system packages, having a Rust toolchain. Sourced, not run.
# shellcheck shell=bash

# true: install without asking. Set by `--yes`.
assume_yes=${assume_yes:-false}

say() { echo "stampcast: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# confirm QUESTION: yes without asking when `--yes` was given or nobody is there to answer.
confirm() {
    local answer
    if $assume_yes || [ ! -t 0 ] || [ ! -t 2 ]; then
        return 0
    fi
    read -r -p "stampcast: $1 [Y/n] " answer || return 1
    case $answer in
    '' | [yY]*) return 0 ;;
    *) return 1 ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo; as root, run: $*"
    fi
}

# install_packages WHY PACKAGE…: those of them that dpkg does not already have.
install_packages() {
    local why=$1 package missing=()
    shift
    have apt-get || fail "no apt-get here; install yourself ($why): $*"
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "missing: ${missing[*]} ($why)"
    confirm "Install with apt-get?" || fail "install yourself, then run this again: ${missing[*]}"
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

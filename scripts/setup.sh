# Functions of run.sh and tests/run.sh: messages, system packages, the Rust toolchain, the build.
# Sourced, not run. Names what it is going to install, and why, before it does.
# shellcheck shell=bash

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# true: install without asking (--yes).
assume_yes=${assume_yes:-false}

say() { echo "stampcast: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# confirm QUESTION: yes without asking after --yes, or where there is no terminal.
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
        fail "root is needed and sudo is not installed; as root, run: $*"
    fi
}

# install_packages PACKAGE…: as root or by sudo. Where neither is possible, fails with the command
# to run.
install_packages() {
    local by_hand="apt-get update && apt-get install -y --no-install-recommends $*"
    have apt-get || fail "apt-get not found; install the packages above, or what your system calls them, and run this again"
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "root is needed to install packages and sudo is not installed; as root, run: $by_hand"
        sudo -v || fail "sudo refused; as root, run: $by_hand"
    fi
    as_root apt-get update -qq >&2 || fail "apt-get update failed; is there a network? To do it by hand: $by_hand"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >&2 ||
        fail "apt-get could not install $*; is there a network? To do it by hand: $by_hand"
}

# need WHY PACKAGE CHECK…: marks PACKAGE for install_needed unless the command CHECK… succeeds. So
# tools that were installed in another way than by Debian's package (a compiler, node) are used.
needed_packages=()
needed_reasons=()
need() {
    local why=$1 package=$2
    shift 2
    "$@" >/dev/null 2>&1 && return 0
    [[ " ${needed_packages[*]} " != *" $package "* ]] || return 0
    needed_packages+=("$package")
    needed_reasons+=("$why")
}

# Lists all that is missing, asks once, and installs it: the packages, then Rust where rust_missing
# is true.
rust_missing=false
install_needed() {
    local reasons
    [ ${#needed_packages[@]} -gt 0 ] || $rust_missing || return 0
    if [ ${#needed_packages[@]} -gt 0 ]; then
        reasons=$(printf '%s\n' "${needed_reasons[@]}" | sort -u | paste -sd ';' | sed 's/;/; /g')
        say "missing packages: ${needed_packages[*]} ($reasons)"
    fi
    $rust_missing && say "missing: Rust $(oldest_rust) or newer; rustup installs it for this user only (~/.rustup, ~/.cargo; 0.6 GB)"
    confirm "Install them?" || fail "install them, then run this again${needed_packages[*]:+: sudo apt-get install ${needed_packages[*]}}"
    [ ${#needed_packages[@]} = 0 ] || install_packages "${needed_packages[@]}"
    needed_packages=()
    needed_reasons=()
    if $rust_missing; then install_rust; fi
}

# take_secrets OPTION…: moves the values of secret options and variables to `secrets`, as
# STAMPCAST_NAME=VALUE, and leaves all other options in `others`.
secrets=()
others=()
take_secrets() {
    local name variable value taken=" "
    while [ $# -gt 0 ]; do
        name=${1#--}
        case $1 in
        --token=?* | --video-token=?* | --whip=?* | --whip-token=?*)
            value=${name#*=}
            name=${name%%=*}
            ;;
        --token | --video-token | --whip | --whip-token)
            case ${2:-} in
            # No value: stampcast says so.
            '' | -*)
                others+=("$1")
                shift
                continue
                ;;
            esac
            value=$2
            shift
            ;;
        *)
            others+=("$1")
            shift
            continue
            ;;
        esac
        shift
        [[ $taken != *" $name "* ]] || fail "--$name is given twice"
        taken+="$name "
        variable=STAMPCAST_$(variable_of "$name")
        secrets+=("$variable=$value")
        # stampcast no longer sees that the value is from the command line, which precedes the
        # environment.
        unset "${variable}_FILE"
    done
    for value in "${others[@]}"; do
        for name in token whip-token; do
            if [[ $taken == *" $name "* && ${value%%=*} == "--$name-file" ]]; then
                fail "--$name and --$name-file cannot be used together; give only one"
            fi
        done
    done
    for name in token video-token whip whip-token; do
        variable=STAMPCAST_$(variable_of "$name")
        if [[ -n ${!variable:-} && $taken != *" $name "* ]]; then
            secrets+=("$variable=${!variable}")
        fi
        unset "$variable"
    done
}
variable_of() { tr a-z- A-Z_ <<<"$1"; }

release_name() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null; }

need_to_build() {
    local why="to compile the program"
    need "$why" build-essential have c++
    need "$why" build-essential have make
    need "to compile libjpeg-turbo" cmake have cmake
    case $(uname -m) in x86_64 | i?86) need "to compile libjpeg-turbo" nasm have nasm ;; esac
    need "to find ALSA" pkg-config have pkg-config
    need "to capture audio" libasound2-dev test -e /usr/include/alsa/asoundlib.h
    need_rust
}

# The oldest compiler that works, from Cargo.toml.
oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$project/Cargo.toml"; }

# rust_works [TOOLCHAIN]: cargo is installed and its compiler is new enough. Asks rustup for the
# installed toolchains first: its `rustc` would silently install a missing one.
rust_works() {
    local version
    have cargo || return 1
    if have rustup; then
        rustup toolchain list 2>/dev/null | grep -q "^${1:-[a-z0-9]*-}" || return 1
    fi
    version=$(env ${1:+"RUSTUP_TOOLCHAIN=$1"} rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$version" ] && printf '%s\n' "$(oldest_rust)" "$version" | sort -V -C
}

# The installer's directory is in PATH only from the next login on.
use_rustup_path() { case :$PATH: in *":$HOME/.cargo/bin:"*) ;; *) PATH=$HOME/.cargo/bin:$PATH ;; esac; }

# Marks what Rust needs for install_needed, unless Rust is installed.
need_rust() {
    rust_works && return 0
    use_rustup_path
    rust_works && return 0
    if rust_works stable; then
        export RUSTUP_TOOLCHAIN=stable
        return 0
    fi
    rust_missing=true
    need "to fetch Rust" ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
    have rustup && return 0
    if rustup_is_packaged && ! debian_rust_is_installed; then
        need "to install Rust" rustup false
    else
        need "to fetch the Rust installer" curl have curl
    fi
}
# Debian packages rustup from 13 on. It conflicts with Debian's compiler: apt would remove that.
rustup_is_packaged() { case $(release_name) in trixie | forky | sid) true ;; *) false ;; esac; }
debian_rust_is_installed() {
    local found
    # Fails where either is unknown.
    found=$(dpkg-query -W -f '${db:Status-Status}\n' cargo rustc 2>/dev/null) || true
    grep -qx installed <<<"$found"
}

install_rust() {
    local instead
    instead="install Rust $(oldest_rust) or newer (https://rustup.rs), then run this again"
    say "installing Rust"
    if ! have rustup; then
        curl --proto '=https' --tlsv1.2 -sSf https://static.rust-lang.org/rustup/rustup-init.sh |
            sh -s -- -y -q --no-modify-path --profile minimal --default-toolchain none >&2 ||
            fail "the Rust installer failed; is there a network? Otherwise $instead"
        use_rustup_path
    fi
    rustup toolchain install stable --profile minimal || fail "rustup could not install Rust; is there a network? Otherwise $instead"
    # For this script only, not as the user's default.
    export RUSTUP_TOOLCHAIN=stable
    rust_works stable || fail "Rust is still older than $(oldest_rust): $(rustc --version 2>&1)"
}

build_release() {
    [ -x "$(released_program)" ] || say "building stampcast: takes some minutes once (longer on a Raspberry Pi) and 1 GB in target/"
    cargo build --release --locked --manifest-path "$project/Cargo.toml"
}
released_program() { echo "${CARGO_TARGET_DIR:-$project/target}/release/stampcast"; }

# What run.sh and tests/run.sh share: saying things, installing system packages, having a Rust toolchain, building.
# Sourced, not run. Everything that it installs it first names, with the reason.
# shellcheck shell=bash

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# true: install without asking. `--yes` sets it.
assume_yes=${assume_yes:-false}

say() { echo "stampcast: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# confirm QUESTION: yes without asking after `--yes`, or where nobody is there to answer.
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

# install_packages WHY PACKAGE…
install_packages() {
    local why=$1
    shift
    say "missing: $* ($why)"
    have apt-get || fail "there is no apt-get here; install these, or what your system calls them, and run this again"
    confirm "Install with apt-get?" || fail "install them, then run this again: apt-get install $*"
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 ||
        fail "apt-get could not install: $*"
}

# need WHY PACKAGE CHECK…: remembers PACKAGE for install_needed unless the command CHECK… succeeds. What is there by
# another way than Debian's package (a compiler, node) is left alone.
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

install_needed() {
    [ ${#needed_packages[@]} -gt 0 ] || return 0
    local reasons
    reasons=$(printf '%s\n' "${needed_reasons[@]}" | sort -u | paste -sd ';' | sed 's/;/; /g')
    install_packages "$reasons" "${needed_packages[@]}"
    needed_packages=()
    needed_reasons=()
}

# Any libclang will do for bindgen, which makes the bindings to V4L2; its headers are not needed. The package's name holds
# a version: the one that this release's libclang-dev stands for.
libclang_there() { compgen -G "/usr/lib/*/libclang-*.so*" || compgen -G "/usr/lib/llvm-*/lib/libclang*.so*"; }
libclang_package() {
    local version
    version=$(apt-cache depends libclang-dev 2>/dev/null | sed -n 's/.*Depends: libclang-\([0-9]*\)-dev.*/\1/p' | head -n 1)
    if [ -n "$version" ]; then echo "libclang1-$version"; else echo libclang-dev; fi
}

need_to_build() {
    local why="to compile the program"
    need "$why" build-essential have c++
    need "$why" build-essential have make
    need "to compile libjpeg-turbo" cmake have cmake
    case $(uname -m) in x86_64 | i?86) need "to compile libjpeg-turbo" nasm have nasm ;; esac
    need "to find ALSA" pkg-config have pkg-config
    need "to record sound" libasound2-dev test -e /usr/include/alsa/asoundlib.h
    if ! libclang_there >/dev/null; then
        # A fresh machine has no package lists, and the name is found in them.
        [ -n "$(apt-cache depends libclang-dev 2>/dev/null)" ] || as_root apt-get update -q >&2
        need "to bind to V4L2" "$(libclang_package)" false
    fi
}

# The oldest compiler that works, as Cargo.toml states it.
oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$project/Cargo.toml"; }

# rust_works [TOOLCHAIN]: there is a cargo and its compiler is new enough.
rust_works() {
    local version
    have cargo || return 1
    version=$(env ${1:+"RUSTUP_TOOLCHAIN=$1"} rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$version" ] && printf '%s\n' "$(oldest_rust)" "$version" | sort -V -C
}

# The installer's directory is in PATH only after the next login.
use_rustup_path() { case :$PATH: in *":$HOME/.cargo/bin:"*) ;; *) PATH=$HOME/.cargo/bin:$PATH ;; esac; }

need_rust() {
    rust_works && return 0
    use_rustup_path
    rust_works && return 0
    say "there is no Rust $(oldest_rust) or newer here"
    confirm "Install one with rustup, for this user only?" ||
        fail "install Rust $(oldest_rust) or newer (https://rustup.rs), then run this again"
    have rustup || install_rustup
    if ! rust_works stable; then
        rustup toolchain install stable --profile minimal || fail "rustup could not install Rust"
    fi
    # Not the user's default toolchain: only what this script starts.
    export RUSTUP_TOOLCHAIN=stable
    rust_works || fail "Rust is still older than $(oldest_rust): $(rustc --version 2>&1)"
}

# Debian's own rustup from Debian 13 on, else the official installer.
install_rustup() {
    if [ -n "$(apt-cache search --names-only '^rustup$' 2>/dev/null)" ]; then
        install_packages "to install Rust" rustup
    else
        have curl || install_packages "to fetch the Rust installer" curl ca-certificates
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --no-modify-path --profile minimal --default-toolchain stable ||
            fail "the Rust installer failed"
        use_rustup_path
    fi
}

build_release() { cargo build --release --locked --manifest-path "$project/Cargo.toml"; }
released_program() { echo "${CARGO_TARGET_DIR:-$project/target}/release/stampcast"; }

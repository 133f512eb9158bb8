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

# install_packages PACKAGE…: as root, or by sudo; where neither is to be had, says what to type.
install_packages() {
    local by_hand="apt-get update && apt-get install -y --no-install-recommends $*"
    have apt-get || fail "there is no apt-get here; install these, or what your system calls them, and run this again"
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "installing needs root, and there is no sudo; as root, run: $by_hand"
        sudo -v || fail "sudo did not let you; as root, run: $by_hand"
    fi
    as_root apt-get update -qq >&2 || fail "the package lists cannot be read; is there a network? By hand: $by_hand"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >&2 ||
        fail "apt-get could not install: $*; is there a network? By hand: $by_hand"
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

# Says all that is missing, asks once, and installs it: the packages, then Rust where rust_missing is true.
rust_missing=false
install_needed() {
    local reasons
    [ ${#needed_packages[@]} -gt 0 ] || $rust_missing || return 0
    if [ ${#needed_packages[@]} -gt 0 ]; then
        reasons=$(printf '%s\n' "${needed_reasons[@]}" | sort -u | paste -sd ';' | sed 's/;/; /g')
        say "missing packages: ${needed_packages[*]} ($reasons)"
    fi
    $rust_missing && say "missing: Rust $(oldest_rust) or newer; rustup installs it for this user alone (~/.rustup, ~/.cargo; 0.6 GB)"
    confirm "Install that?" || fail "install it, then run this again${needed_packages[*]:+: sudo apt-get install ${needed_packages[*]}}"
    [ ${#needed_packages[@]} = 0 ] || install_packages "${needed_packages[@]}"
    needed_packages=()
    needed_reasons=()
    if $rust_missing; then install_rust; fi
}

release_name() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null; }

# Any libclang will do for bindgen, which makes the bindings to V4L2; its headers are not needed. The package's name holds
# a version: the one that this release's libclang-dev stands for. A fresh machine has no package lists to ask.
libclang_there() { compgen -G "/usr/lib/*/libclang-*.so*" || compgen -G "/usr/lib/llvm-*/lib/libclang*.so*"; }
libclang_package() {
    local version
    case $(release_name) in
    bookworm) version=14 ;;
    trixie) version=19 ;;
    *) version=$(apt-cache depends libclang-dev 2>/dev/null | sed -n 's/.*Depends: libclang-\([0-9]*\)-dev.*/\1/p' | head -n 1) ;;
    esac
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
    libclang_there >/dev/null || need "to bind to V4L2" "$(libclang_package)" false
    need_rust
}

# The oldest compiler that works, as Cargo.toml states it.
oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$project/Cargo.toml"; }

# rust_works [TOOLCHAIN]: there is a cargo and its compiler is new enough. Asks rustup first what is installed: its `rustc`
# would install what is not, without a word.
rust_works() {
    local version
    have cargo || return 1
    if have rustup; then
        rustup toolchain list 2>/dev/null | grep -q "^${1:-[a-z0-9]*-}" || return 1
    fi
    version=$(env ${1:+"RUSTUP_TOOLCHAIN=$1"} rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$version" ] && printf '%s\n' "$(oldest_rust)" "$version" | sort -V -C
}

# The installer's directory is in PATH only after the next login.
use_rustup_path() { case :$PATH: in *":$HOME/.cargo/bin:"*) ;; *) PATH=$HOME/.cargo/bin:$PATH ;; esac; }

# Remembers what Rust needs for install_needed, unless it is there.
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
    if rustup_is_packaged && ! debians_rust_there; then
        need "to install Rust" rustup false
    else
        need "to fetch the Rust installer" curl have curl
    fi
}
# Debian has a rustup of its own from 13 on. It takes the place of Debian's compiler: apt would remove that.
rustup_is_packaged() { case $(release_name) in trixie | forky | sid) true ;; *) false ;; esac; }
debians_rust_there() {
    local found
    # It fails where it does not know both.
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
            fail "the Rust installer failed; is there a network? Else $instead"
        use_rustup_path
    fi
    rustup toolchain install stable --profile minimal || fail "rustup could not install Rust; is there a network? Else $instead"
    # Not the user's default toolchain: only what this script starts.
    export RUSTUP_TOOLCHAIN=stable
    rust_works stable || fail "Rust is still older than $(oldest_rust): $(rustc --version 2>&1)"
}

build_release() {
    [ -x "$(released_program)" ] || say "building stampcast: some minutes, once (longer on a Raspberry Pi); 1 GB in target/"
    cargo build --release --locked --manifest-path "$project/Cargo.toml"
}
released_program() { echo "${CARGO_TARGET_DIR:-$project/target}/release/stampcast"; }

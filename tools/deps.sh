#!/bin/bash
# Installs the Debian packages that are missing for one purpose and nothing else:
#     tools/deps.sh [build|demo|check|more|clients|coverage|pip|aarch64]
# "more" is what make check can do without: other compilers, emulation, JavaScript. "clients": what
# runs the SDKs and the browser of make check-clients.
# A second run finds nothing missing and touches neither apt nor the network.
set -euo pipefail

purpose=${1:-build}
build_tools=(gcc:gcc make:make pkg-config:pkg-config)
build_packages=(libutf8proc-dev libjansson-dev libcurl4-openssl-dev libssl-dev libedit-dev
                libevent-dev libsqlite3-dev libseccomp-dev libyaml-dev zlib1g-dev libtree-sitter-dev
                libxxhash-dev ca-certificates)
more_tools=(g++:g++ clang:clang node:nodejs npm:npm)
more_packages=()
if [ "$(uname -m)" = x86_64 ]; then # the NEON kernels are compared under emulation
    more_tools+=(aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user)
    more_packages+=(libc6-dev-arm64-cross)
fi

case $purpose in
    build) tools=("${build_tools[@]}"); packages=("${build_packages[@]}") ;;
    check) tools=("${build_tools[@]}" python3:python3)
           packages=("${build_packages[@]}" libcmocka-dev) ;;
    more) tools=("${more_tools[@]}"); packages=("${more_packages[@]}") ;;
    clients) tools=(node:nodejs npm:npm python3:python3 chromium:chromium); packages=() ;;
    demo) tools=("${build_tools[@]}" python3:python3); packages=("${build_packages[@]}") ;;
    coverage) tools=("${build_tools[@]}" gcovr:gcovr python3:python3)
              packages=("${build_packages[@]}" libcmocka-dev) ;;
    pip) tools=(python3:python3); packages=() ;;
    aarch64) tools=(aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user)
             packages=() ;;
    *) echo "usage: tools/deps.sh [build|demo|check|more|clients|coverage|pip|aarch64]" >&2
       exit 2 ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "deps: no apt here; octet needs a C11 compiler, make, pkg-config and the headers of" \
         "utf8proc, jansson, libcurl, OpenSSL, libedit, libevent, SQLite, libseccomp, libyaml," \
         "zlib, tree-sitter and xxHash"
    [ "$purpose" = build ] || [ "$purpose" = pip ] ||
        echo "deps: $purpose also needs ${tools[*]##*:} ${packages[*]}"
    exit 0
fi

# A tool counts as present wherever it comes from; a library must be the distribution's.
missing=()
for pair in "${tools[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
    format='${Package} ${db:Status-Status}\n'
    present=$(dpkg-query -W -f "$format" "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qx "$package installed" <<<"$present" || missing+=("$package")
    done
fi
if [ "$purpose" = pip ] && ! python3 -m pip --version >/dev/null 2>&1; then
    missing+=(python3-pip)
fi

updated=no
install_packages() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "deps: not root and no sudo; install these by hand: $*" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "deps: installing $* (apt-get)"
    local log
    log=$(mktemp)
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
               apt-get -q -y -o Acquire::Retries=2)
    if { [ "$updated" = yes ] || "${apt[@]}" update; } >"$log" 2>&1 &&
        "${apt[@]}" install --no-install-recommends "$@" >>"$log" 2>&1; then
        updated=yes
        rm -f "$log"
        return
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
    echo "deps: apt-get could not install: $*" >&2
    echo "deps: is the network reachable? Otherwise install them by hand and run this again." >&2
    exit 1
}
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"

# The sanitizer and fuzzer runtimes are packaged by clang version.
if [ "$purpose" = more ] &&
    [ ! -e "$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a")" ] &&
    [ ! -e "$(clang -print-file-name=libclang_rt.fuzzer.a)" ]; then
    major=$(clang -dumpversion | cut -d. -f1)
    install_packages "libclang-rt-$major-dev"
fi

# Libraries of the other architecture, for make ARCH=aarch64. They stand beside the own ones, but
# for libevent's headers, of which there can be only one: those are unpacked in the build folder.
if [ "$purpose" = aarch64 ] && [ "$(uname -m)" != aarch64 ]; then
    dpkg --print-foreign-architectures | grep -qx arm64 || dpkg --add-architecture arm64
    arm=()
    for package in "${build_packages[@]}" libcmocka-dev libevent-2.1-7 libevent-pthreads-2.1-7; do
        case $package in ca-certificates | libevent-dev) continue ;; esac
        dpkg-query -W -f '${db:Status-Status}' "$package:arm64" 2>/dev/null |
            grep -qx installed || arm+=("$package:arm64")
    done
    [ ${#arm[@]} -eq 0 ] || install_packages "${arm[@]}"
    folder=build/aarch64/libevent
    if [ ! -e "$folder/usr/include/event2/event.h" ]; then
        mkdir -p "$folder"
        (cd "$folder" && apt-get -q download libevent-dev:arm64 && dpkg -x libevent-dev_*.deb .)
    fi
fi

#!/usr/bin/env bash
# Installs with apt what asmgen needs and this machine lacks: says what and why first, does nothing if all is there.
#
#   scripts/apt.sh base    what building and training need
#   scripts/apt.sh dev     also what the tests want; those packages are optional
#
# PYTHON (default /usr/bin/python3) is the interpreter that must find PeachPy: Debian installs it only for its own.
set -euo pipefail

level=${1:-base}
python=${PYTHON:-/usr/bin/python3}

say() { printf 'setup: %s\n' "$*" >&2; }

required=()
optional=()
need() { # need LIST PACKAGE REASON COMMAND...: add the package to the list unless the command succeeds
    local -n list=$1
    local package=$2 reason=$3
    shift 3
    if ! "$@" >/dev/null 2>&1; then
        list+=("$package")
        say "$package is missing: $reason"
    fi
}

need required nasm "assembles the kernels" command -v nasm
need required binutils "links the trainer (ld)" command -v ld
need required python3-venv "makes .venv" "$python" -c 'import venv, ensurepip'
need required python3-peachpy "names the instructions of the kernels" "$python" -c 'import peachpy.x86_64'
if [[ $level == dev ]]; then
    need optional qemu-user "runs trainers on older CPUs; without it those tests are skipped" command -v qemu-x86_64
fi
if [[ ${#required[@]} -eq 0 && ${#optional[@]} -eq 0 ]]; then
    exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    as_root=(sudo)
fi
by_hand="${as_root[*]:+${as_root[*]} }apt-get install ${required[*]} ${optional[*]}"

give_up() {
    say "$1"
    say "install them yourself, then run make again:  ${by_hand% }"
    exit 1
}

command -v apt-get >/dev/null || give_up "there is no apt-get here; asmgen needs Debian's packages, or the same by other means (docs/setup.md)"
if [[ ${#as_root[@]} -gt 0 ]] && ! command -v sudo >/dev/null; then
    as_root=()
    by_hand="apt-get install ${required[*]} ${optional[*]}   (as root)"
    give_up "installing needs root, and there is no sudo"
fi

install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends)
say "installing with apt:  ${required[*]} ${optional[*]}"
updated=yes
# Left to itself, apt-get update counts a mirror that it cannot reach as success.
"${as_root[@]}" apt-get update --quiet --option APT::Update::Error-Mode=any || updated=no
if [[ $updated == no ]]; then
    say "apt-get update failed (its words are above): no network, a mirror that is down, or another apt running;"
    say "going on with the package lists that are already here"
fi
if [[ ${#required[@]} -gt 0 ]] && ! "${install[@]}" "${required[@]}"; then
    if [[ $updated == no ]]; then
        give_up "apt-get update failed and the old package lists were not enough; check the network and /etc/apt/sources.list*"
    fi
    give_up "apt-get install failed; its words are above"
fi
if [[ ${#optional[@]} -gt 0 ]] && ! "${install[@]}" "${optional[@]}"; then
    say "going on without ${optional[*]}: the tests that need it are skipped"
fi

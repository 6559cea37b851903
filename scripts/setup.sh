#!/usr/bin/env bash
# Makes .venv and installs asmgen into it, editable. Safe to run again; `make` calls it when its inputs are newer.
#
#   scripts/setup.sh base    what building and training need
#   scripts/setup.sh dev     also the test tools and, where pip finds it, PyTorch
#
# PYTHON   interpreter of the venv (default /usr/bin/python3, the one that sees Debian's PeachPy)
# TORCH    what pip is asked for (default: the CPU build; PyPI's own build would bring gigabytes of CUDA)
set -euo pipefail
cd "$(dirname "$0")/.."

level=${1:-base}
python=${PYTHON:-/usr/bin/python3}
torch=${TORCH:-torch==2.13.0+cpu}
venv=.venv

say() { printf 'setup: %s\n' "$*" >&2; }

PYTHON=$python scripts/apt.sh "$level"

# A venv whose interpreter has gone (a distribution upgrade) is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making $venv with $python"
    "$python" -m venv --system-site-packages --clear "$venv"
fi

pip_install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint scripts/constraints.txt "$@"; }

extras=""
if [[ $level == dev ]]; then
    extras="[dev,plot]"
fi
say "installing asmgen$extras into $venv"
pip_install --editable ".$extras"

if [[ $level == dev ]] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    say "installing PyTorch ($torch), which only parity tests and comparisons use"
    # shellcheck disable=SC2086  # TORCH may hold pip options beside the requirement
    if ! pip_install $torch; then
        say "going on without PyTorch: parity tests are skipped. docs/setup.md tells how to name another source (TORCH=...)"
    fi
fi

touch "$venv/.base" "$venv/.$level"
say "ready; $venv/bin/asmgen doctor tells what works here"

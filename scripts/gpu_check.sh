#!/bin/bash
# All checks and measurements on this machine's GPU, in less than nine minutes (docs/gpu.md).
#   scripts/gpu_check.sh [FOLDER] [options of asmgen.bench.gpu.check]     FOLDER: what scripts/gpu_prepare.sh built
# Needs python3 with NumPy, Jinja, click and PyTorch, and nvcc; no NASM, no PeachPy, no network. PYTHON names another python3.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/gpu
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    folder=$1
    shift
fi
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
export PATH=$PATH:/usr/local/cuda/bin
exec "${PYTHON:-python3}" -m asmgen.bench.gpu.check "$folder" "$@"

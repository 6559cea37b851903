#!/bin/bash
# Builds here what scripts/gpu_check.sh needs on a machine with a GPU but without NASM, PeachPy and a network:
#   scripts/gpu_prepare.sh [FOLDER]     (default: build/gpu; carry it, and the checkout, to the machine)
# Environment: ASMGEN (the command), MODELS (names; default: all of models/), EMULATE=1 (trainers for a dry run on a CPU).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/gpu}
asmgen=${ASMGEN:-.venv/bin/asmgen}
isa=${ISA:-avx2}
models=${MODELS:-$(basename -s .py models/*.py)}

mkdir -p "$folder"
for name in $models; do
    model=models/$name.py
    $asmgen build "$model" --isa "$isa" --out "$folder/float32"
    $asmgen build "$model" --isa cuda --out "$folder/float32" ${EMULATE:+--emulate}
    if ! grep -q 'dtype="float64"' "$model"; then
        $asmgen build "$model" --isa cuda --precision tf32 --out "$folder/tf32" ${EMULATE:+--emulate}
    fi
done
# Only the executables travel.
find "$folder" \( -name objects -o -name kernels.so \) -prune -exec rm -rf {} +
# Drawn data sets to learn from, unless FOLDER/data/<data set> has better ones.
[ -d "$folder/data/catdog" ] || $asmgen data synth catdog --count 400 -o "$folder/data/catdog" || echo "no drawn photos"
[ -d "$folder/data/mnist" ] || $asmgen data synth digits --count 22000 --test-fraction 0.456 -o "$folder/data/mnist" ||
    echo "no drawn digits"
du -sh "$folder"

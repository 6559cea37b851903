#!/usr/bin/env bash
# Trains the shipped models on real data and prints the test accuracy of each: the table of docs/results.md.
#   scripts/accuracy.sh MNIST_DIR PHOTOS_DIR [ISA ...]      (directories as `asmgen data import` writes them)
set -euo pipefail
cd "$(dirname "$0")/.."
mnist=$1 photos=$2
shift 2
[[ $# -gt 0 ]] || set -- avx512 avx2 sse41
asmgen=.venv/bin/asmgen
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

train() { # model, data, isa, --set options...
    local model=$1 data=$2 isa=$3 name="$1 ${*:4}"
    local sets=()
    for option in "${@:4}"; do sets+=(--set "$option"); done
    local line
    line=$("$asmgen" -q train "models/$model.py" --isa "$isa" --out "$out/${name// /_}" "${sets[@]}" --data "$data" | tail -n 1)
    printf '%-28s %-7s %s\n' "$name" "$isa" "$line"
}

for isa in "$@"; do
    for optimizer in sgd momentum adam; do train mnist_mlp "$mnist" "$isa" optimizer=$optimizer; done
    train mnist_sigmoid "$mnist" "$isa"
    for pool in max avg; do train lenet "$mnist" "$isa" pool=$pool; done
    train catdog "$photos" "$isa"
done

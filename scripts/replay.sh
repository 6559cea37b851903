#!/usr/bin/env bash
# Compares what two commits generate for all shipped models, and says which kernels differ (docs/testing.md):
#   scripts/replay.sh [--strict] [--defaults] BASE [HEAD]      HEAD: a commit; without it, the working tree as it is
# Environment: PYTHON (default: .venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
TMPDIR=$scratch "${PYTHON:-.venv/bin/python}" -m asmgen.bench.replay "$@"

#!/usr/bin/env bash
# Builds a real TensorRT engine of every network without a GPU, in a virtual environment of its own (1.3 GB), and prints a table.
# Exit code 0: each network becomes one engine with every operator in it. 75: the packages cannot be had. Else: it does not hold.
set -euo pipefail
source_tree=$(cd "$(dirname "$0")/.." && pwd)
workplace=$(mktemp -d)
trap 'rm -rf "$workplace"' EXIT

python3 -m venv "$workplace/venv"
install() {
    "$workplace/venv/bin/pip" install --quiet "$@" || exit 75
}
install -r "$source_tree/.ci/tensorrt-requirements.txt"
install --no-deps -r "$source_tree/.ci/tensorrt-requirements-no-deps.txt"
cd "$source_tree"
XDG_CACHE_HOME="$workplace" TMPDIR="$workplace" PYTHONPATH="$source_tree" "$workplace/venv/bin/python" benchmarks/tensorrt_build.py

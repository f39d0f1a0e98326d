#!/usr/bin/env bash
# octet beside llama.cpp on the same model files: see bench/README.md. The first argument is
# llama-bench, then come model files, then options of bench.py (its --help lists them).
set -euo pipefail

usage() { echo "usage: bench/peers/bench.sh LLAMA_BENCH MODEL... [options of bench.py]"; }
root=$(dirname "$0")/../..
[ "${1:-}" != --help ] || { usage; python3 "$root/bench/peers/bench.py" --help; exit 0; }
[ $# -ge 2 ] || { usage >&2; exit 2; }
llama=$(realpath "$1")
shift
models=()
while [ $# -gt 0 ] && [[ $1 != -* ]]; do
    models+=(--model "$(realpath "$1")")
    shift
done
cd "$root"
[ -x build/octet ] || make
exec python3 bench/peers/bench.py --llama "$llama" "${models[@]}" "$@"

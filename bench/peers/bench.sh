#!/usr/bin/env bash
# octet beside llama.cpp on one model file: see bench/README.md. Options after the two paths go to
# bench.py (its --help lists them).
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ $# -lt 2 ] || [ "$1" = --help ]; then
    echo "usage: bench/peers/bench.sh LLAMA_BENCH MODEL [-t N] [-r ROUNDS] [--prompt N] [--gen N]" \
         "[--depth N]"
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi
llama=$1 model=$2
shift 2
[ -x build/octet ] || make
exec python3 bench/peers/bench.py --llama "$llama" --model "$model" "$@"

#!/usr/bin/env bash
# Builds llama.cpp natively for this machine, the fair peer: bench/peers/build_llama.sh SOURCE,
# where SOURCE is a checkout of llama.cpp. Where git hosts are out of reach, the npm package
# node-llama-cpp carries one as a git bundle: npm pack node-llama-cpp, then clone
# llama/gitRelease.bundle from it.
set -euo pipefail
[ $# -eq 1 ] && [ -f "$1/CMakeLists.txt" ] || { echo "usage: $0 LLAMA_CPP_SOURCE" >&2; exit 2; }
cmake -S "$1" -B "$1/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF
cmake --build "$1/build" -j "$(nproc)" --target llama-bench llama-perplexity llama-completion \
    llama-tokenize llama-quantize

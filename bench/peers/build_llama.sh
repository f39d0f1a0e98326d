#!/usr/bin/env bash
# Builds llama.cpp, the fair peer: bench/peers/build_llama.sh SOURCE [avx2], where SOURCE is a
# checkout of llama.cpp. Natively for this machine, into SOURCE/build; with avx2 for processors
# without AVX-512, into SOURCE/build-avx2. Where git hosts are out of reach, the npm package
# node-llama-cpp carries one as a git bundle: npm pack node-llama-cpp, then clone
# llama/gitRelease.bundle from it.
set -euo pipefail
if [ ! -f "${1:-}/CMakeLists.txt" ]; then
    echo "usage: $0 LLAMA_CPP_SOURCE [avx2]" >&2
    exit 2
fi
case ${2:-native} in
    native) build=$1/build; flags=(-DGGML_NATIVE=ON) ;;
    avx2) build=$1/build-avx2
          flags=(-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON) ;;
    *) echo "$0: $2: expected nothing or avx2" >&2; exit 2 ;;
esac
cmake -S "$1" -B "$build" -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF "${flags[@]}"
cmake --build "$build" -j "$(nproc)" --target llama-bench llama-batched-bench llama-perplexity \
    llama-completion llama-tokenize llama-quantize

#!/usr/bin/env bash
# Compares octet's predictions with llama.cpp's on the same files: KL divergence over an English
# text for a real model and for synthetic ones in several formats, then greedy answers of the real
# one.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tools/kl_vs_llama.sh LLAMA_BIN OCTET SMOLLM2 [TEXT]
  LLAMA_BIN  folder with llama-perplexity, llama-completion and llama-quantize
  OCTET      the octet program
  SMOLLM2    a SmolLM2 GGUF file (any format)
  TEXT       English text of at least 2000 tokens (default: the GPL, as Debian installs it)
Environment: THREADS (default: all cores), CHUNKS (default: 8 chunks of 512 tokens).
Exit status 1 if a divergence is above its bound for another reason than rounded activations;
greedy texts are only reported.
TEXT
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
[ $# -ge 3 ] || { usage >&2; exit 2; }
llama=$1 octet=$2 smollm=$3 text=${4:-/usr/share/common-licenses/GPL-3}
threads=${THREADS:-$(nproc)} chunks=${CHUNKS:-8}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# json_get KEY < one JSON object
json_get() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# fail NAME WHAT LOG
fail() {
    printf '%-26s %s: %s\n' "$1" "$2" "$(tail -n 1 "$3")"
    failed=1
}

llama_logits() { # FILE N_CTX OUT
    "$llama/llama-perplexity" -m "$1" -f "$text" -c "$2" --chunks $((chunks * 512 / $2)) -b 512 \
        -t "$threads" --save-all-logits "$3" >"$work/llama.log" 2>&1
}

llama_kl() { # FILE N_CTX BASE: prints the mean
    "$llama/llama-perplexity" -m "$1" -c "$2" -b 512 -t "$threads" --kl-divergence-base "$3" \
        --kl-divergence 2>/dev/null | sed -n 's/^Mean  *KLD: *\([-0-9.e]*\).*/\1/p'
}

octet_kl() { # FILE N_CTX BASE: prints a JSON object
    "$octet" perplexity -m "$1" -c "$2" -t "$threads" --kl-base "$3" --json 2>"$work/octet.log"
}

# Both engines round activations to 8 bits before they meet quantised weights, each in its own way,
# and a model may be sensitive to that (a small one, or one whose experts are nearly tied). The
# yardstick is llama.cpp on the same weights expanded to F32, where nothing is rounded: above the
# bound, octet must not be farther from it than llama.cpp is on the quantised file.
judge() { # KL BOUND LLAMA_ERROR OCTET_ERROR
    awk -v kl="$1" -v bound="$2" -v l="$3" -v o="$4" 'BEGIN {
        if (kl != kl + 0 || o != o + 0) print "NOT A NUMBER"
        else if (kl <= bound) print "ok"
        else if (o <= 1.1 * l) print "rounding"
        else print "ABOVE"
    }'
}

# Reference logits are kept in 16 bits, so that even equal predictions show some 1e-7 of either
# sign. octet runs with the F16 cache, as llama.cpp does.
compare() { # NAME FILE BOUND N_CTX
    local name=$1 file=$2 bound=$3 n_ctx=$4 result exact kl verdict llama_error octet_error
    if ! "$llama/llama-quantize" --allow-requantize "$file" "$work/f32.gguf" F32 \
        >"$work/llama.log" 2>&1 || ! llama_logits "$work/f32.gguf" "$n_ctx" "$work/exact" ||
        ! llama_logits "$file" "$n_ctx" "$work/base"; then
        fail "$name" "llama.cpp failed" "$work/llama.log"
        return
    fi
    rm "$work/f32.gguf"
    llama_error=$(llama_kl "$file" "$n_ctx" "$work/exact")
    if ! result=$(octet_kl "$file" "$n_ctx" "$work/base") ||
        ! exact=$(octet_kl "$file" "$n_ctx" "$work/exact"); then
        fail "$name" "octet failed" "$work/octet.log"
        return
    fi
    kl=$(json_get kl_mean <<<"$result")
    octet_error=$(json_get kl_mean <<<"$exact")
    verdict=$(judge "$kl" "$bound" "$llama_error" "$octet_error")
    case $verdict in ok | rounding) ;; *) failed=1 ;; esac
    printf '%-26s %6s %10.2e %10.2e %9.2f%% %7s   %10.2e %10.2e  %s\n' "$name" \
        "$(json_get tokens <<<"$result")" "$kl" "$(json_get kl_p999 <<<"$result")" \
        "$(json_get top1_agreement <<<"$result" | awk '{ print 100 * $1 }')" "$bound" \
        "$llama_error" "$octet_error" "$verdict"
}

bound_of() { [ "$1" = q4_k_m ] && echo 0.001 || echo 0.0001; }

printf '%33s %-40s   %s\n' "" "octet from llama.cpp" "mean KL from F32"
printf '%-26s %6s %10s %10s %10s %7s   %10s %10s\n' file tokens "mean KL" "p99.9" "same top" \
    bound llama.cpp octet
compare "$(basename "$smollm" .gguf | cut -c 1-26)" "$smollm" 0.001 512
for type in q4_k_m q8_0 f16; do
    file=$work/smollm-$type.gguf
    "$llama/llama-quantize" --allow-requantize "$smollm" "$file" "${type^^}" >/dev/null 2>&1
    compare "SmolLM2 as $type" "$file" "$(bound_of "$type")" 512
    rm -f "$file"
done
# llama.cpp runs arch llama without its sliding window: chunks must not exceed it.
for arch in mixtral-8x7b-tiny mistral-7b-tiny phi-2-tiny; do
    n_ctx=512
    for type in q4_k_m q8_0 f16; do
        file=$work/$arch-$type.gguf
        "$octet" synth --arch "$arch" --type "$type" "$file" >/dev/null 2>&1
        if [ "$arch" = mistral-7b-tiny ]; then
            window=$("$octet" inspect "$file" --json | python3 -c 'import json, sys
print(json.load(sys.stdin)["metadata"]["llama.attention.sliding_window"]["value"])')
            [ "$window" -ge 512 ] || n_ctx=$window
        fi
        compare "$arch $type" "$file" "$(bound_of "$type")" "$n_ctx"
        rm -f "$file"
    done
done

prompts=(
    "The capital of France is"
    "Once upon a time, in a small village by the sea,"
    "def fibonacci(n):"
    "The three laws of thermodynamics state that"
    "To make a good cup of tea, first"
)
# Equal texts are to be expected of the F16 copy only: rounded activations decide near ties.
greedy() { # LABEL FILE
    local same=0 prompt verdict
    for prompt in "${prompts[@]}"; do
        "$llama/llama-completion" -m "$2" -p "$prompt" -n 64 --temp 0 -t "$threads" -c 512 \
            -no-cnv --no-display-prompt --ignore-eos --no-warmup </dev/null \
            2>/dev/null >"$work/llama.txt" || true
        "$octet" run -m "$2" -p "$prompt" -n 64 --temp 0 -t "$threads" -c 512 --ignore-eos \
            2>/dev/null >"$work/octet.txt" || true
        # Only trailing white space may differ: the programs end their output differently.
        if [ -s "$work/octet.txt" ] && [ "$(cat "$work/llama.txt")" = "$(cat "$work/octet.txt")" ]
        then
            verdict=equal
            same=$((same + 1))
        else
            verdict="differs after $( (cmp "$work/llama.txt" "$work/octet.txt" || true) 2>&1 |
                sed -n 's/.*byte \([0-9]*\).*/\1 bytes/p')"
        fi
        printf 'greedy, %-12s %-50s %s\n' "$1:" "$prompt" "$verdict"
    done
    echo "greedy, $1: $same of ${#prompts[@]} texts equal"
}

echo
greedy "as it is" "$smollm"
"$llama/llama-quantize" --allow-requantize "$smollm" "$work/f16.gguf" F16 >/dev/null 2>&1
greedy "as f16" "$work/f16.gguf"
exit "$failed"

#!/bin/bash
# octet serve among clients that mean no good, or too many: tests/serve/check_hostile.py and
# check_crowd.py, and some seconds of mutated requests (`make fuzz-serve` sends them for longer).
. tests/cli/lib.sh
model="$TMP/tiny.gguf"
"$OCTET" synth --arch llama-tiny --type q8_0 "$model" 2>/dev/null
"$OCTET" synth --arch smollm2-135m --layers 4 --type q4_0 "$TMP/slow.gguf" 2>/dev/null
check() { # SCRIPT ARGUMENTS...
    local script=$1
    shift
    python3 "tests/serve/$script" "$OCTET" "$@" || n_failed=$((n_failed + 1))
}
check check_hostile.py "$model"
check check_crowd.py "$model" "$TMP/slow.gguf" "$TMP"
check fuzz_http.py "$model" "${FUZZ_SECONDS:-4}"
finish

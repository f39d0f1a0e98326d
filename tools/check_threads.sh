#!/bin/bash
# Unit tests and the server with the thread sanitizer: tools/check_threads.sh BUILD TEST...
# "ok NAME" or "FAIL NAME" each; a report of a race is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 log_path=$folder/race ${TSAN_OPTIONS:-}"
failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if timeout 300 "$@" >"$folder/log" 2>&1 && ! ls "$folder"/race.* >/dev/null 2>&1; then
        echo "ok threads-$name"
        return
    fi
    failed=$((failed + 1))
    echo "FAIL threads-$name"
    grep -v '^ok ' "$folder/log" | tail -n 20 | sed 's/^/    /'
    head -n 60 "$folder"/race.* 2>/dev/null | sed 's/^/    /'
    rm -f "$folder"/race.*
}
for test in "$@"; do check "$test" "$build/tsan/tests/test_$test"; done
octet=$build/tsan/octet
"$octet" synth --arch llama-tiny --type q8_0 "$folder/tiny.gguf" 2>/dev/null
"$octet" synth --arch smollm2-135m --layers 1 --type q4_0 "$folder/slow.gguf" 2>/dev/null
check serve-check.py python3 tests/serve/check.py "$octet" "$folder/tiny.gguf" \
    "$folder/slow.gguf" "$folder"
check serve-check_cache.py python3 tests/serve/check_cache.py "$octet" "$folder/tiny.gguf" "$folder"
check serve-check_draft.py python3 tests/serve/check_draft.py "$octet" "$folder/tiny.gguf" \
    "$folder/tiny.gguf"
check serve-check_crowd.py python3 tests/serve/check_crowd.py "$octet" "$folder/tiny.gguf" \
    "$folder/slow.gguf" "$folder"
check serve-check_hostile.py python3 tests/serve/check_hostile.py "$octet" "$folder/tiny.gguf"
check serve-fuzz_http.py python3 tests/serve/fuzz_http.py "$octet" "$folder/tiny.gguf" 5
[ "$failed" = 0 ]

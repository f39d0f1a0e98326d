# Helpers for the shell tests of the program; sourced, never run. A script names its cases:
#
#     . tests/cli/lib.sh
#     run "$OCTET" run --help;  expect_exit help_exits_0 0;  expect_stdout help_names_usage 'Usage:'
#     finish
#
# Every expect_* prints "ok NAME" or "FAIL NAME: why". Needs OCTET, the path of the program.
set -u
: "${OCTET:?set OCTET to the path of the program}"
[ -x "$OCTET" ] || { echo "FAIL lib: no program at $OCTET"; exit 1; }
TMP=$(mktemp -d "${TMPDIR:-/tmp}/octet-test.XXXXXX")
trap 'rm -rf "$TMP"' EXIT
n_failed=0
status=0
export LC_ALL=C
unset OCTET_HISTORY OCTET_MODELS OCTET_HUB

ok() { echo "ok $1"; }

fail() { # NAME WHY...
    local name=$1
    shift
    echo "FAIL $name: $*"
    n_failed=$((n_failed + 1))
}

# Runs a command with at most 120 seconds; leaves $status, $TMP/out and $TMP/err.
run() {
    timeout 120 "$@" >"$TMP/out" 2>"$TMP/err" </dev/null
    status=$?
}

run_stdin() { # FILE COMMAND...
    local input=$1
    shift
    timeout 120 "$@" >"$TMP/out" 2>"$TMP/err" <"$input"
    status=$?
}

expect_exit() { # NAME STATUS
    if [ "$status" -eq "$2" ]; then ok "$1"
    else fail "$1" "exit $status, expected $2; stderr: $(head -c 300 "$TMP/err" | tr '\n' ' ')"; fi
}

expect_in() { # NAME FILE TEXT
    if grep -qF -- "$3" "$2"; then ok "$1"
    else fail "$1" "no '$3' in: $(head -c 300 "$2" | tr '\n' ' ')"; fi
}
expect_stdout() { expect_in "$1" "$TMP/out" "$2"; }
expect_stderr() { expect_in "$1" "$TMP/err" "$2"; }

expect_empty() { # NAME FILE
    if [ -s "$2" ]; then fail "$1" "not empty: $(head -c 300 "$2" | tr '\n' ' ')"; else ok "$1"; fi
}
expect_no_stdout() { expect_empty "$1" "$TMP/out"; }
expect_no_stderr() { expect_empty "$1" "$TMP/err"; }

expect_equal() { # NAME FOUND EXPECTED
    if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "found '$2', expected '$3'"; fi
}

expect_files_equal() { # NAME FILE FILE
    if cmp -s "$2" "$3"; then ok "$1"; else fail "$1" "$2 and $3 differ"; fi
}

# One line on stderr that starts with "octet", exit status 1: a run-time failure told properly.
expect_failure() { # NAME TEXT-IN-MESSAGE
    if [ "$status" -ne 1 ]; then fail "$1" "exit $status, expected 1: $(head -c 300 "$TMP/err")"
    elif [ "$(wc -l <"$TMP/err")" -ne 1 ]; then fail "$1" "not one line: $(head -c 400 "$TMP/err")"
    elif ! grep -q '^octet: ' "$TMP/err"; then fail "$1" "no 'octet: ': $(cat "$TMP/err")"
    elif ! grep -qF -- "$2" "$TMP/err"; then fail "$1" "no '$2' in: $(cat "$TMP/err")"
    else ok "$1"; fi
}

# Wrong use: exit status 2, nothing on stdout, TEXT on stderr.
expect_misuse() { # NAME TEXT
    if [ "$status" -ne 2 ]; then fail "$1" "exit $status, expected 2: $(head -c 300 "$TMP/err")"
    elif [ -s "$TMP/out" ]; then fail "$1" "stdout not empty"
    elif ! grep -qF -- "$2" "$TMP/err"; then fail "$1" "no '$2' in: $(cat "$TMP/err")"
    else ok "$1"; fi
}

# Evaluates a Python expression over j, the JSON in FILE.
json() { # FILE EXPRESSION
    python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' \
        "$1" "$2" 2>&1 | tail -1 # of a failure only the reason
}
expect_json() { # NAME EXPRESSION EXPECTED, over the last stdout
    expect_equal "$1" "$(json "$TMP/out" "$2")" "$3"
}

# A tiny model with seeded weights at $TMP/m.gguf.
make_model() {
    "$OCTET" synth --arch mistral-7b-tiny --type q4_k_m --seed 1 "$TMP/m.gguf" >/dev/null 2>&1 ||
        fail make_model "octet synth failed"
}

finish() {
    [ "$n_failed" -eq 0 ]
    exit
}

#!/bin/bash
# octet box: what it prints and how it exits. What it keeps in is in tests/test_box.c.
. tests/cli/lib.sh

run "$OCTET" box --probe; expect_exit probe_works 0; expect_stdout probe_lists_layers seccomp
run "$OCTET" box --probe --json
expect_json probe_json 'sorted(j) == ["enough", "landlock_abi", "layers", "missing"]' True
if ! "$OCTET" box --probe --json | grep -q '"enough": true'; then
    run "$OCTET" box -- true; expect_failure weak_machine_is_refused --unsafe-exec
    finish
fi
run "$OCTET" box -- sh -c 'echo out; echo err >&2; exit 9'
expect_equal status_is_mirrored "$status" 9
expect_stdout output_comes_through out; expect_stderr messages_come_through err
run "$OCTET" box --time 0.2 -- sleep 60; expect_equal time_out_exits_124 "$status" 124
expect_stderr time_out_is_told 'time out'
run "$OCTET" box --memory 64 -- python3 -c 'import time; x = b"1" * (100 << 20); time.sleep(9)'
expect_equal memory_exits_137 "$status" 137
run "$OCTET" box -- sh -c 'kill -SEGV $$'; expect_equal signal_exits_128_more "$status" 139
echo 6 >"$TMP/in"; run_stdin "$TMP/in" "$OCTET" box -- sh -c 'read a; echo $((a * 7))'
expect_stdout stdin_goes_in 42
OCTET_SECRET=planted run "$OCTET" box -- env; expect_exit environment_works 0
grep -q planted "$TMP/out" && fail environment_stays_outside planted || ok environment_stays_outside

octet=$(realpath "$OCTET"); printf 'echo made >made.txt; cat "$0"' >"$TMP/make.sh"
(cd "$TMP" && "$octet" box --file make.sh --keep made.txt -- sh make.sh >out 2>err); status=$?
expect_exit files_go_in 0; expect_equal files_come_out "$(cat "$TMP/made.txt")" made
run "$OCTET" box --file "$TMP/none" -- true; expect_failure missing_file_is_told none
run "$OCTET" box --json -- sh -c 'printf "a\033[2J"; exit 3'
expect_json json_output '(j["stdout"], j["status"], j["end"])' "('a\\x1b[2J', 3, 'exited')"
script -qec "'$OCTET' box --file tests/box/escape_codes.sh -- sh escape_codes.sh" /dev/null \
    >"$TMP/out" 2>/dev/null </dev/null
expect_stdout terminal_sees_escapes '<U+001B>[2J'
expect_equal terminal_gets_no_controls "$(grep -c $'\033' "$TMP/out")" 0
run "$OCTET" box; expect_exit no_program_is_misuse 2
run "$OCTET" box --probe -- true; expect_exit probe_runs_nothing 2
run "$OCTET" box -- octet-no-such-program; expect_failure missing_program_is_told PATH
finish

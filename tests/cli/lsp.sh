#!/bin/bash
# octet lsp: what editors hear (tests/lsp), and wrong use.
. tests/cli/lib.sh
"$OCTET" synth --arch llama-tiny --type q8_0 --seed 1 "$TMP/tiny.gguf" 2>/dev/null
"$OCTET" synth --arch smollm2-135m --layers 4 --type q4_0 "$TMP/slow.gguf" 2>/dev/null
run "$OCTET" lsp; expect_misuse lsp_needs_a_model '-m MODEL or --server URL is missing'
run "$OCTET" lsp -m x --api-key-file y; expect_misuse lsp_key_wants_a_server '--server'
run "$OCTET" lsp --server ftp://x; expect_failure lsp_closed_input 'went away'
echo secret >"$TMP/key"
run "$OCTET" lsp --server http://x --api-key-file "$TMP/key"
expect_failure lsp_keys_are_private 'chmod 600'
printf 'hello\n\n' >"$TMP/other"
run_stdin "$TMP/other" "$OCTET" lsp -m "$TMP/tiny.gguf"
expect_failure lsp_other_input 'no LSP message'
python3 tests/lsp/check.py "$OCTET" "$TMP" || n_failed=$((n_failed + 1))
python3 tests/lsp/check_model.py "$OCTET" "$TMP/tiny.gguf" "$TMP/slow.gguf" "$TMP" ||
    n_failed=$((n_failed + 1))
finish

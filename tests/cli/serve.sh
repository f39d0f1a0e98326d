#!/bin/bash
# octet serve: what clients see (tests/serve/check.py), and wrong use.
. tests/cli/lib.sh
model="$TMP/tiny.gguf"
"$OCTET" synth --arch llama-tiny --type q8_0 "$model" 2>/dev/null
"$OCTET" synth --arch smollm2-135m --layers 4 --type q4_0 "$TMP/slow.gguf" 2>/dev/null
run "$OCTET" serve; expect_misuse serve_needs_a_model '--model FILE is missing'
run "$OCTET" serve -m "$TMP/none.gguf" --port 0; expect_failure serve_names_missing_file none.gguf
run "$OCTET" serve -m "$model" -m "$model" --port 0
expect_failure serve_wants_names_to_differ 'NAME=FILE'
run "$OCTET" serve -m "$model" --host 203.0.113.1; expect_exit serve_needs_an_address 1
expect_stderr serve_names_the_address 203.0.113.1
python3 tests/serve/check.py "$OCTET" "$model" "$TMP/slow.gguf" "$TMP" || n_failed=$((n_failed + 1))
finish

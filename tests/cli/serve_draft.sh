#!/bin/bash
# octet serve --draft: answers do not depend on it (tests/serve/check_draft.py), and wrong use.
. tests/cli/lib.sh
synth() { "$OCTET" synth --type q8_0 "$@" 2>/dev/null; }
synth --arch llama-tiny "$TMP/tiny.gguf"
synth --arch llama-tiny --layers 1 --seed 2 "$TMP/small.gguf"
synth --arch phi-2-tiny --layers 1 "$TMP/phi.gguf"
serve() { run "$OCTET" serve -m "$TMP/tiny.gguf" --port 0 "$@"; }
serve --draft "$TMP/phi.gguf"; expect_failure other_vocabulary_is_refused phi.gguf
serve --draft "$TMP/none.gguf"; expect_failure draft_model_must_exist none.gguf
serve --draft-max 64; expect_misuse draft_length_has_a_limit 63
python3 tests/serve/check_draft.py "$OCTET" "$TMP/tiny.gguf" "$TMP/small.gguf" ||
    n_failed=$((n_failed + 1))
finish

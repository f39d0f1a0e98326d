#!/bin/bash
# octet serve: answers held to grammars and schemas (tests/serve/check_forms.py).
. tests/cli/lib.sh
model="$TMP/tiny.gguf"
"$OCTET" synth --arch llama-tiny --type q8_0 "$model" 2>/dev/null
python3 tests/serve/check_forms.py "$OCTET" "$model" || n_failed=$((n_failed + 1))
finish

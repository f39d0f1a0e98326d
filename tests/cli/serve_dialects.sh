#!/bin/bash
# octet serve: the APIs of Ollama and Anthropic, and OpenAI's responses
# (tests/serve/check_dialects.py), tools in all of them (check_tools.py), vectors and tokens
# (check_embed.py).
. tests/cli/lib.sh
model="$TMP/tiny.gguf"
"$OCTET" synth --arch llama-tiny --type q8_0 "$model" 2>/dev/null
python3 tests/serve/check_dialects.py "$OCTET" "$model" || n_failed=$((n_failed + 1))
python3 tests/serve/check_tools.py "$OCTET" "$model" || n_failed=$((n_failed + 1))
python3 tests/serve/check_embed.py "$OCTET" "$model" || n_failed=$((n_failed + 1))
finish

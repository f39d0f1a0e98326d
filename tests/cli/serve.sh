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
python3 tests/serve/check_cache.py "$OCTET" "$model" "$TMP" || n_failed=$((n_failed + 1))

# ---- octet compare asks octet serve --------------------------------------------------------------
"$OCTET" serve -m "$model" --port 0 -q --warm 2>"$TMP/serve.log" &
for _ in $(seq 100); do grep -q http:// "$TMP/serve.log" && break; sleep 0.1; done
url=$(grep -o 'http://.*' "$TMP/serve.log")
printf 'id: t/x\nlanguage: python\nprompt: Go on.\nentry: f\ncalls:\n  - {args: [1], expect: 1}\n' \
    >"$TMP/tasks.yaml"
export XDG_DATA_HOME="$TMP/data"
run "$OCTET" compare "$TMP/tasks.yaml" --unsafe-exec --yes -n 20 --prompt raw \
    --models "direct=local,$model served=openai,$url/v1,tiny"
kill -TERM %1 2>/dev/null
expect_exit compare_asks_serve 0
run "$OCTET" report --export "$TMP/run.json"
expect_equal both_ways_give_the_same_text "$(python3 -c "
import json
print(len({a['text'] for a in json.load(open('$TMP/run.json'))['answers']}))")" 1
finish

#!/bin/bash
# octet run with --grammar and --json-schema.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf

run "$OCTET" run -m "$model" -p x --temp 2 --grammar 'root ::= "(" [a-z]{3} ")"' -n 20
expect_exit grammar_text 0
expect_equal grammar_text_holds "$(grep -cE '^\([a-z]{3}\)$' "$TMP/out")" 1
printf '# a file\nroot ::= "yes" | "no"\n' >"$TMP/g.gbnf"
run "$OCTET" run -m "$model" -p x --grammar "$TMP/g.gbnf" --json
expect_exit grammar_file 0
expect_json grammar_file_holds 'j["text"] in ("yes", "no") and j["finish_reason"]' stop

schema='{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array"}},
         "required": ["a", "b"]}'
printf '%s' "$schema" >"$TMP/s.json"
for seed in 1 2 3; do
    run "$OCTET" run -m "$model" -p x --temp 2 --top-k 0 --json-schema "$TMP/s.json" -n 40 \
        --seed $seed
    expect_json "schema_file_$seed" 'sorted(j) == ["a", "b"] and type(j["b"]) is list' True
done
run "$OCTET" run -m "$model" -p x --temp 2 --json-schema "$schema" -n 40
expect_json schema_text 'type(j["a"]) is int' True
run "$OCTET" run -m "$model" -p x --temp 2 --json-schema "$schema" -n 40 --ignore-eos
expect_json schema_ignoring_ends 'type(j["a"]) is int' True
run "$OCTET" run -m "$model" -p x --temp 2 --json-schema '{"type": "array"}' -c 60
expect_json the_context_is_a_limit_too 'type(j) is list' True

run "$OCTET" run -m "$model" -p x --grammar 'root ::= other'
expect_failure unknown_rule "line 1: there is no rule 'other'"
printf 'root ::= "a"\nb ::= (' >"$TMP/bad.gbnf"
run "$OCTET" run -m "$model" -p x --grammar "$TMP/bad.gbnf"
expect_failure file_and_line_are_named "bad.gbnf: grammar: line 2: a group without"
run "$OCTET" run -m "$model" -p x --json-schema '{"not": {}}'
expect_failure schema_keyword_is_named "schema: #: 'not' is not supported"
run "$OCTET" run -m "$model" -p x --json-schema "$TMP/none.json"
expect_failure schema_file_must_exist none.json
run "$OCTET" run -m "$model" -p x --grammar 'root ::= "a"' --json-schema '{}'
expect_misuse one_form_only 'exclude each other'
finish

#!/bin/bash
# --draft: guessing ahead changes neither text nor logits, in run, chat and bench.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf
"$OCTET" synth --arch mistral-7b-tiny --type q8_0 --layers 1 --seed 2 "$TMP/small.gguf" 2>/dev/null
"$OCTET" synth --arch phi-2-tiny --type q8_0 --layers 1 "$TMP/phi.gguf" 2>/dev/null
printf 'one two three four %.0s' $(seq 8) >"$TMP/prompt"

# Three tokens that are likelier than all others make a text that repeats itself.
draft() {
    run "$OCTET" run -m "$model" -f "$TMP/prompt" -n 40 --ignore-eos --json \
        --logit-bias 70=1000 --logit-bias 71=1000 --logit-bias 72=1000 "$@"
}
for sampling in '--temp 0' '--temp 1 --seed 5' '--temp 1 --seed 6 --frequency-penalty 0.1'; do
    draft $sampling --draft off
    name=$(echo "$sampling" | tr -d ' .-')
    expect_exit "plain_$name" 0
    expect_json "plain_${name}_drafts_nothing" 'j["draft"]["drafted"]' 0
    result='(j["text"], j["logits_hash"], j["completion_tokens"], j["finish_reason"])'
    plain=$(json "$TMP/out" "$result")
    for kind in auto ngram "$TMP/small.gguf" "$model"; do
        draft $sampling --draft "$kind"
        expect_json "same_${name}_with_${kind##*/}" "$result" "$plain"
    done
    draft $sampling --draft ngram --draft-max 3
    expect_json "same_${name}_with_short_drafts" "$result" "$plain"
    expect_json "drafts_${name}_are_counted" \
        '(j["draft"]["drafted"] >= j["draft"]["accepted"] > 0 and
          j["draft"]["steps"] + j["draft"]["accepted"] == 39)' True
    expect_stderr "summary_${name}_tells_drafts" 'drafted tokens right'
done
draft --draft "$TMP/phi.gguf"; expect_failure other_vocabulary_is_refused phi.gguf
draft --draft "$TMP/none.gguf"; expect_failure draft_model_must_exist none.gguf
draft --draft fast; expect_failure draft_names_what_there_is 'auto, off, ngram'
draft --draft-max 64; expect_misuse draft_length_has_a_limit 63

printf 'Hello Hello Hello\nAgain\nHello Hello\n' >"$TMP/in"
chat() { run_stdin "$TMP/in" "$OCTET" chat -m "$model" --chat-format chatml -n 12 --temp 0 "$@"; }
chat --draft off; expect_exit chat_works_plainly 0; cp "$TMP/out" "$TMP/plain"
chat --draft ngram; expect_exit chat_works_drafting 0
expect_files_equal chat_says_the_same "$TMP/out" "$TMP/plain"

bench() { run "$OCTET" bench -m "$model" --draft-text "$TMP/prompt" -n 30 -r 2 "$@"; }
bench --draft-prompt "$TMP/prompt" --draft ngram --json
expect_exit bench_works 0
expect_json bench_compares_logits 'j[0]["identical"]' True
expect_json bench_counts '(j[0]["test"], j[0]["n"], j[0]["accepted"] > 0)' "('draft', 30, True)"
expect_json bench_times 'j[0]["tokens_per_s"] > 0 and j[0]["plain_tokens_per_s"] > 0' True
bench; expect_stdout bench_needs_no_prompt identical
bench --draft off; expect_stdout bench_without_drafts identical
: >"$TMP/empty"
run "$OCTET" bench -m "$model" --draft-text "$TMP/empty"; expect_failure bench_needs_text empty
run "$OCTET" bench -m "$model" --draft-prompt "$TMP/prompt"; expect_misuse bench_prompt_alone needs
finish

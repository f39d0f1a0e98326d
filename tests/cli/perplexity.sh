#!/bin/bash
# octet perplexity: scores, the file of saved logits, hostile files.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf

cat tests/cli/*.sh | head -c 6000 >"$TMP/text"
run "$OCTET" perplexity -m "$model" -f "$TMP/text" -c 64 --chunks 4 --json
expect_exit perplexity_works 0
expect_json keys_are_there \
    "all(k in j for k in 'tokens ppl ppl_error kl_mean kl_p999 top1_agreement'.split())" True
expect_json tokens_are_second_halves 'j["tokens"]' $((4 * 31))
expect_json random_model_knows_nothing 'j["ppl"] > 20 and j["kl_mean"] is None' True
ppl=$(json "$TMP/out" 'j["ppl"]')
run "$OCTET" perplexity -m "$model" -f "$TMP/text" -c 64 --chunks 4 -t 1 \
    --save-logits "$TMP/l" --json
expect_json threads_do_not_change_perplexity 'j["ppl"]' "$ppl"
expect_equal file_begins_with_magic "$(head -c 8 "$TMP/l")" _logits_
run "$OCTET" perplexity -m "$model" --kl-base "$TMP/l" --json
expect_exit kl_works 0
expect_json same_model_same_ppl 'j["ppl"]' "$ppl"
expect_json same_model_no_divergence 'abs(j["kl_mean"]) < 1e-4 and j["top1_agreement"] > 0.98' True
"$OCTET" synth --arch mistral-7b-tiny --type q4_k_m --seed 2 "$TMP/other.gguf" 2>/dev/null
run "$OCTET" perplexity -m "$TMP/other.gguf" --kl-base "$TMP/l" --json
expect_json other_model_diverges 'j["kl_mean"] > 0.01 and j["kl_p999"] >= j["kl_median"]' True
run "$OCTET" perplexity -m "$model" --kl-base "$TMP/l" --chunks 2
expect_stdout fewer_chunks 'in 2 chunks of 64'

run "$OCTET" perplexity -m "$model" -f "$TMP/text" -c 100000
expect_failure text_too_short 'fewer than'
run "$OCTET" perplexity -m "$model" -f "$TMP/none"; expect_failure text_missing none
run "$OCTET" perplexity -m "$model" --kl-base "$model"; expect_failure base_must_be_logits _logits_
head -c 3000 "$TMP/l" >"$TMP/cut"
run "$OCTET" perplexity -m "$model" --kl-base "$TMP/cut"; expect_failure base_cut_off 'too few'
{ printf _logits_; printf '\377\377\377\177%.0s' 1 2 3; } >"$TMP/huge"
run "$OCTET" perplexity -m "$model" --kl-base "$TMP/huge"
expect_failure base_promises_too_much 'too few'
{ printf _logits_; printf '\377\377\377\377%.0s' 1 2 3; } >"$TMP/negative"
run "$OCTET" perplexity -m "$model" --kl-base "$TMP/negative"
expect_failure base_negative impossible
{ head -c 12 "$TMP/l"; printf '\3\0\0\0'; tail -c +17 "$TMP/l"; } >"$TMP/vocab"
run "$OCTET" perplexity -m "$model" --kl-base "$TMP/vocab"
expect_failure base_other_vocabulary vocabulary
(ulimit -f 8; trap '' XFSZ; "$OCTET" perplexity -m "$model" -f "$TMP/text" -c 64 --chunks 4 \
    --save-logits "$TMP/full" >"$TMP/out" 2>"$TMP/err" </dev/null)
status=$?
expect_failure full_disk_is_told 'writing failed'
[ -e "$TMP/full" ] && fail partial_file_is_removed exists || ok partial_file_is_removed
finish

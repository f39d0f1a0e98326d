#!/bin/bash
# octet tokenize and detokenize.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf

printf 'Hello, world!\n\n  two  spaces\tand \303\274mlauts \360\237\231\202 <s> </s>' >"$TMP/text"
printf ' broken \377\376 bytes' >>"$TMP/text"
run "$OCTET" tokenize -m "$model" -f "$TMP/text" --ids --no-special
expect_exit tokenize_works 0
expect_equal ids_are_one_line "$(wc -l <"$TMP/out")" 1
cp "$TMP/out" "$TMP/ids"
run_stdin "$TMP/text" "$OCTET" tokenize -m "$model" --ids --no-special
expect_files_equal text_from_pipe "$TMP/out" "$TMP/ids"
run_stdin "$TMP/ids" "$OCTET" detokenize -m "$model"
expect_exit detokenize_works 0
# A SentencePiece vocabulary puts a blank in front.
sed '1s/^ //' "$TMP/out" >"$TMP/back"
expect_equal round_trip_gives_the_text "$(od -c "$TMP/back")" "$(od -c "$TMP/text")"
run "$OCTET" detokenize -m "$model" $(cat "$TMP/ids")
sed '1s/^ //' "$TMP/out" >"$TMP/back2"
expect_files_equal ids_as_arguments "$TMP/back" "$TMP/back2"

run "$OCTET" tokenize -m "$model" -p 'a</s>b' --ids; special=$(wc -w <"$TMP/out")
run "$OCTET" tokenize -m "$model" -p 'a</s>b' --ids --no-special; plain=$(wc -w <"$TMP/out")
[ "$special" -lt "$plain" ] && ok special_names_are_tokens \
    || fail special_names_are_tokens "$special $plain"
run "$OCTET" tokenize -m "$model" -p '' --ids
expect_exit empty_text_works 0
expect_equal empty_text_is_an_empty_line "$(od -An -c "$TMP/out" | tr -d ' ')" '\n'
run "$OCTET" tokenize -m "$model" -p '' --ids --bos
expect_equal bos_on_request "$(wc -w <"$TMP/out")" 1
run "$OCTET" tokenize -m "$model" -p 'Hello world' --json
expect_json tokenize_json 'all(set(t) == {"id", "text"} for t in j) and len(j) > 0' True
run "$OCTET" tokenize -m "$model" -p 'Hello'; expect_exit token_list_works 0
run "$OCTET" detokenize -m "$model" 99999999; expect_failure id_must_exist 'not in the vocabulary'
run "$OCTET" detokenize -m "$model" five; expect_failure id_must_be_a_number "'five' is not"
run "$OCTET" detokenize -m "$model" -- -1; expect_failure id_must_not_be_negative '-1'
run "$OCTET" detokenize -m "$model" '[1,' 2, '3]'; expect_exit json_array_of_ids 0
head -c 1000000 /dev/zero | tr '\0' a >"$TMP/big"
run "$OCTET" tokenize -m "$model" -f "$TMP/big" --ids; expect_exit long_word_is_fast 0
finish

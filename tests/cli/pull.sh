#!/bin/bash
# octet pull against a hub that breaks, lies and stalls.
. tests/cli/lib.sh

python3 tests/pull/server.py "$TMP/port" "$TMP/log" &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$TMP"' EXIT
for _ in $(seq 100); do
    [ -s "$TMP/port" ] && break
    sleep 0.1
done
read -r port sha256 size <"$TMP/port"
hub=http://127.0.0.1:$port
file=SmolLM2-135M-Instruct-Q8_0.gguf
export HOME=$TMP/home
mkdir -p "$HOME"

# pull MODE [OPTION...]: into a folder of its own, left in $folder
pull() {
    local mode=$1
    shift
    folder=$TMP/$mode
    : >"$TMP/log"
    run "$OCTET" pull smollm2-135m-instruct --url "$hub/$mode" --dir "$folder" --timeout 2 "$@"
}
requests() { grep -c "^GET /cdn" "$TMP/log"; }
expect_complete() { # NAME
    local found
    found=$(sha256sum "$folder/$file" 2>/dev/null | cut -d' ' -f1)
    if [ "$status" -eq 0 ] && [ "$found" = "$sha256" ] && [ "$(ls "$folder")" = "$file" ]; then
        ok "$1"
    else
        fail "$1" "exit $status, files: $(ls "$folder"), stderr: $(cat "$TMP/err")"
    fi
}
expect_error() { # NAME TEXT: fails with TEXT as the last line on stderr, and no file
    if [ "$status" -ne 1 ]; then fail "$1" "exit $status: $(cat "$TMP/err")"
    elif [ -e "$folder/$file" ]; then fail "$1" "the file is there"
    elif ! tail -n 1 "$TMP/err" | grep -qF -- "$2"; then fail "$1" "stderr: $(cat "$TMP/err")"
    else ok "$1"; fi
}

# ---- Names and options
run "$OCTET" pull --list
expect_exit list_exits_0 0
expect_stdout list_names_models mixtral-8x7b-instruct
expect_stdout list_names_sets_of_tasks humaneval-plus-mini
run "$OCTET" pull
expect_misuse needs_a_name 'fetch what'
run "$OCTET" pull smollm2-135m-instuct
expect_misuse unknown_name_suggests "did you mean 'smollm2-135m-instruct'"
run "$OCTET" pull humanevl
expect_misuse unknown_set_suggests "did you mean 'humaneval'"
run "$OCTET" pull humaneval --quant Q8_0
expect_misuse sets_have_no_quant 'name of a model only'
run "$OCTET" pull phi-2 --quant ../../x
expect_misuse quant_is_no_path 'such as Q4_K_M'
run "$OCTET" pull phi-2 --sha256 123
expect_misuse short_sha256 '64 lower-case'
run "$OCTET" pull "$hub/direct/.."
expect_misuse address_without_file_name 'plain file name'
folder=$TMP/plain
run "$OCTET" pull http://example.invalid/m.gguf --dir "$folder"
expect_error plain_http_is_refused 'only https'
run "$OCTET" pull ftp://127.0.0.1/m.gguf --dir "$folder"
expect_error ftp_is_refused 'only https'

# ---- Downloads that work
pull normal
expect_complete normal_download
expect_stdout prints_the_path "$folder/$file"
pull normal
expect_complete second_pull_keeps_the_file
expect_stderr second_pull_says_so 'there already'
expect_equal second_pull_downloads_nothing "$(requests)" 0
pull normal --verify
expect_complete verify_reads_the_file
printf x | dd of="$TMP/normal/$file" conv=notrunc status=none
pull normal
expect_exit without_verify_the_size_counts 0
pull normal --verify
expect_exit verify_fails_on_damage 1
expect_stderr verify_finds_damage 'its SHA-256 is not'
printf x >>"$TMP/normal/$file"
pull normal
expect_exit wrong_size_fails 1
expect_stderr wrong_size_is_told 'move it away'

pull moved
expect_complete follows_a_renamed_repository
pull busy
expect_complete tries_again_after_503
pull breaks
expect_complete goes_on_after_broken_connections
expect_equal breaks_three_times "$(requests)" 4
expect_stderr says_that_it_tries_again 'attempt 1 of'
pull norange
expect_complete starts_over_without_ranges
expect_stderr says_that_it_starts_over 'starting over'
pull stall
expect_complete gives_up_on_silence_and_goes_on

run "$OCTET" pull "$hub/direct/m.gguf" --dir "$TMP/direct" --sha256 "$sha256"
expect_exit address_with_sha256 0
run "$OCTET" pull "$hub/direct/n.gguf?download=true" --dir "$TMP/direct" --no-verify
expect_exit address_without_checksum_on_request 0
expect_files_equal query_is_no_part_of_the_name "$TMP/direct/m.gguf" "$TMP/direct/n.gguf"
run env OCTET_HUB="$hub/normal" "$OCTET" pull smollm2-135m-instruct
expect_exit hub_from_the_environment 0
expect_equal default_folder "$(cat "$TMP/out")" "$HOME/.cache/octet/models/$file"
run env OCTET_HUB="$hub/normal" OCTET_MODELS="$TMP/other" "$OCTET" pull phi-2 -q Q8_0
expect_equal models_folder_from_the_environment "$(cat "$TMP/out")" "$TMP/other/phi-2.Q8_0.gguf"

# ---- Resuming
folder=$TMP/slow
timeout -s INT 1.5 "$OCTET" pull smollm2-135m-instruct --url "$hub/slow" --dir "$folder" \
    >"$TMP/out" 2>"$TMP/err"
part=$(stat -c %s "$folder/$file.part" 2>/dev/null || echo 0)
if [ "$part" -gt 0 ] && [ "$part" -lt "$size" ]; then ok interrupt_keeps_the_part
else fail interrupt_keeps_the_part "$part bytes"; fi
pull slow
expect_complete resumes_after_interrupt
expect_in resumes_where_it_was "$TMP/log" "bytes=$part-"

folder=$TMP/normal2
mkdir -p "$folder"
head -c 1000 /dev/zero >"$folder/$file.part"
printf '%064d\n' 7 >"$folder/$file.part.meta"
run "$OCTET" pull smollm2-135m-instruct --url "$hub/normal" --dir "$folder"
expect_complete part_of_another_file_is_dropped

# ---- Downloads that can not work
pull missing
expect_error missing_file 'answers 404: no such file'
pull private
expect_error private_file 'answers 401'
pull unstated
expect_error no_stated_sha256 '--sha256'
pull wronghash
expect_error wrong_hash 'wrong SHA-256'
expect_equal wrong_hash_leaves_nothing "$(ls "$folder")" ''
pull corrupt
expect_error corrupt_bytes 'wrong SHA-256'
pull normal3 --sha256 "$(printf '%064d' 1)"
expect_error other_hash_than_asked_for 'the server offers'
pull long
expect_error more_bytes_than_stated 'more than'
pull short --retries 1
expect_error fewer_bytes_than_stated 'nothing after byte'
pull dead --retries 1
expect_error dead_server 'dead'
pull otherpart
expect_error another_part_than_asked_for 'another part'
pull outside
expect_error redirect_to_plain_http 'only https'
pull file
expect_error redirect_to_a_file 'only https'
pull loop
expect_error redirect_loop 'leads nowhere'
run "$OCTET" pull phi-2 --url http://127.0.0.1:1 --dir "$TMP/closed" --retries 0
expect_exit closed_port 1

mkdir -p "$TMP/full"
folder=$TMP/full
: >"$TMP/log"
run bash -c "ulimit -f 100; trap '' XFSZ; exec \"$OCTET\" pull smollm2-135m-instruct \
    --url $hub/normal --dir $folder"
expect_error full_disk 'can not write'
run "$OCTET" pull phi-2 --url "$hub/normal" --dir "$TMP/log/x"
expect_failure folder_that_can_not_be 'can not create the folder'

folder=$TMP/locked
mkdir -p "$folder"
(
    exec 9>"$folder/$file.part"
    flock 9
    sleep 2
) &
sleep 0.3
run "$OCTET" pull smollm2-135m-instruct --url "$hub/normal" --dir "$folder"
expect_error second_pull_at_once 'another octet pull'

finish

#!/bin/bash
# octet run: text, JSON, determinism, limits, interruption.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf

run "$OCTET" run -m "$model" -p Hello -n 8 --seed 3
expect_exit run_works 0
expect_stderr summary_is_on_stderr 'prompt '
cp "$TMP/out" "$TMP/first"
run "$OCTET" run -m "$model" -p Hello -n 8 --seed 3
expect_files_equal same_seed_same_text "$TMP/out" "$TMP/first"
printf Hello >"$TMP/prompt"
run "$OCTET" run -m "$model" -f "$TMP/prompt" -n 8 --seed 3
expect_files_equal prompt_from_file "$TMP/out" "$TMP/first"
run_stdin "$TMP/prompt" "$OCTET" run -m "$model" -n 8 --seed 3
expect_files_equal prompt_from_pipe "$TMP/out" "$TMP/first"
run_stdin "$TMP/prompt" "$OCTET" run -m "$model" -f - -n 8 --seed 3
expect_files_equal prompt_from_dash "$TMP/out" "$TMP/first"
run "$OCTET" run -m "$model" -p Hello -n 8 --seed 4
cmp -s "$TMP/out" "$TMP/first" && fail other_seed_other_text same || ok other_seed_other_text

hashes=
for threads in 1 2 4; do
    run "$OCTET" run -m "$model" -p 'A longer prompt' -n 12 --temp 0 --ignore-eos -t $threads --json
    expect_exit "json_works_with_${threads}_threads" 0
    hashes="$hashes $(json "$TMP/out" 'j["logits_hash"]')"
done
expect_equal threads_do_not_change_logits "$(echo $hashes | tr ' ' '\n' | sort -u | wc -l)" 1
keys="text prompt_tokens completion_tokens prefill_tps decode_tps finish_reason logits_hash"
expect_json json_has_keys "all(k in j for k in '$keys'.split())" True
expect_json json_counts_tokens 'j["completion_tokens"]' 12
expect_json json_says_why_it_ended 'j["finish_reason"]' length
expect_json json_hash_is_hex 'len(j["logits_hash"]) == 16 and int(j["logits_hash"], 16) > 0' True
hash=$(json "$TMP/out" 'j["logits_hash"]')
run "$OCTET" run -m "$model" -p 'A longer prompt' -n 12 --temp 0 --ignore-eos \
    --prefill-chunk 2 --json
expect_json chunks_do_not_change_logits 'j["logits_hash"]' "$hash"

run "$OCTET" run -m "$model" -p x -n 0 --json
expect_exit no_tokens_wanted 0; expect_json no_tokens_given 'j["completion_tokens"]' 0
run "$OCTET" run -m "$model" -p '' -n 4 --ignore-eos --json
expect_exit empty_prompt_starts_from_bos 0; expect_json bos_is_the_prompt 'j["prompt_tokens"]' 1
run "$OCTET" run -m "$model" -p Hello -c 16 --ignore-eos --json
expect_exit full_context_ends_cleanly 0
expect_json full_context_is_length 'j["finish_reason"]' length
expect_json context_is_filled 'j["prompt_tokens"] + j["completion_tokens"]' 17
printf 'word %.0s' $(seq 100) >"$TMP/long"
run "$OCTET" run -m "$model" -f "$TMP/long" -c 16
expect_failure long_prompt_is_refused context
expect_no_stdout long_prompt_prints_nothing
run "$OCTET" run -m "$model" -p Hello --temp 0 -n 24 --ignore-eos
whole=$(head -c -1 "$TMP/out" | tail -c +2 | head -c 3 | tr -d '\0')
if [ -n "$whole" ] && ! printf %s "$whole" | LC_ALL=C grep -q '[^ -~]'; then
    run "$OCTET" run -m "$model" -p Hello --temp 0 -n 24 --ignore-eos --stop "$whole" --json
    expect_json stop_string_stops 'j["finish_reason"]' stop
    expect_json stop_string_is_left_out "'''$whole''' in j['text']" False
fi
run "$OCTET" run -m "$model" -p x --logit-bias nonsense; expect_misuse bias_must_parse 'ID=X'
run "$OCTET" run -m "$model" -p x -n 3 --logit-bias 99999999=1; expect_exit bias_id_must_exist 1
run "$OCTET" run -m "$model" -p x -n 5 --temp 0 --logit-bias 5=1000 --json
expect_exit bias_works 0
run "$OCTET" run -m "$model" -p x -n 5 --mirostat 2 --dry-multiplier 0.8 --repeat-penalty 1.1
expect_exit samplers_work 0

printf 'this is no model' >"$TMP/garbage.gguf"
run "$OCTET" run -m "$TMP/garbage.gguf" -p x; expect_failure garbage_is_refused garbage.gguf
: >"$TMP/empty.gguf"
run "$OCTET" run -m "$TMP/empty.gguf" -p x; expect_failure empty_file_is_refused empty.gguf
head -c 100000 "$model" >"$TMP/cut.gguf"
run "$OCTET" run -m "$TMP/cut.gguf" -p x; expect_failure truncated_model_is_refused cut.gguf

# Tiny models are done before anyone can interrupt them; this one is slow enough.
slow=$TMP/slow.gguf
"$OCTET" synth --arch smollm2-135m --layers 1 --type q8_0 "$slow" 2>/dev/null

# Ctrl-C: the output ends, a summary follows, status 130. Shells start background jobs with SIGINT
# ignored, which a program would inherit, so Python starts this one.
cat >"$TMP/interrupt.py" <<'P'
import signal, subprocess, sys
command = [sys.argv[1], "run", "-m", sys.argv[2], "-p", "x", "--ignore-eos", "-c", "8000"]
restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=restore)
p.stdout.read(3)
p.send_signal(signal.SIGINT)
out, err = p.communicate(timeout=60)
print(p.returncode, out.endswith(b"\n"), b"prompt " in err)
P
expect_equal interrupt_ends_cleanly \
    "$(timeout 120 python3 "$TMP/interrupt.py" "$OCTET" "$slow" 2>&1 | tail -1)" "130 True True"

"$OCTET" run -m "$slow" -p x -n 1000 --ignore-eos 2>"$TMP/err" | head -c1 >/dev/null
expect_equal closed_stdout_is_quiet "${PIPESTATUS[0]} $(wc -c <"$TMP/err")" "141 0"
"$OCTET" run -m "$model" -p x -n 4 >/dev/full 2>"$TMP/err"
status=$?; : >"$TMP/out"
expect_failure full_disk_on_stdout_is_told 'standard output'
finish

#!/bin/bash
# octet inspect, synth and doctor.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf

run "$OCTET" inspect "$model"
expect_exit inspect_works 0
expect_stdout inspect_shows_metadata general.architecture
expect_stdout inspect_shows_types Q4_K
expect_stdout inspect_shows_plan 'on this machine'
run "$OCTET" inspect --tensors "$model"; expect_stdout inspect_lists_tensors output_norm.weight
run "$OCTET" inspect --check "$model"; expect_stdout inspect_checks 'all weights are numbers'
run "$OCTET" inspect --json "$model"
expect_json inspect_json \
    "all(k in j for k in 'file bytes metadata types tensors plan'.split())" True
expect_json inspect_sizes_agree 'j["bytes"] >= sum(t["bytes"] for t in j["tensors"]) > 0' True
expect_json inspect_plan 'j["plan"]["runs"] and j["plan"]["decode_bytes"] > 0' True
parts="'resident_weight_bytes', 'kv_bytes', 'workspace_bytes', 'program_bytes'"
expect_json inspect_peak_is_the_sum \
    "j['plan']['peak_bytes'] == sum(j['plan'][k] for k in ($parts))" True
embedding='sum(t["bytes"] for t in j["tensors"] if t["name"] == "token_embd.weight")'
expect_json inspect_counts_no_embedding_of_which_rows_are_read \
    "j['bytes'] - j['plan']['resident_weight_bytes'] == $embedding > 0" True
expect_json inspect_knows_the_program_itself '1e6 < j["plan"]["program_bytes"]' True
rows=$(json "$TMP/out" 'j["plan"]["workspace_bytes"]')
run "$OCTET" inspect --json -c 256 --prefill-chunk 16 "$model"
kv=$(json "$TMP/out" 'j["plan"]["kv_bytes"]')
run "$OCTET" inspect --json -c 256 --kv f32 --prefill-chunk 16 "$model"
expect_json inspect_plan_of_options \
    "j['plan']['context_tokens'] == 256 and j['plan']['kv_bytes'] == 2 * $kv" True
expect_json inspect_small_chunks_need_less "j['plan']['workspace_bytes'] < $rows" True
run "$OCTET" inspect --json -c 256 --kv q4_0 "$model"
expect_json inspect_plan_of_4_bits "0.28 * $kv <= j['plan']['kv_bytes'] < 0.36 * $kv" True
run "$OCTET" inspect -c 100000000 "$model"; expect_failure inspect_context_too_large context
printf 'GGUF\3\0\0\0' >"$TMP/short.gguf"
run "$OCTET" inspect "$TMP/short.gguf"; expect_failure inspect_refuses_cut_header short.gguf

run "$OCTET" synth --arch mistral-7b-tiny --type q4_k_m --seed 1 "$TMP/again.gguf"
expect_exit synth_works 0; expect_files_equal synth_is_reproducible "$model" "$TMP/again.gguf"
(ulimit -f 64; trap '' XFSZ; "$OCTET" synth --arch mistral-7b-tiny --type f16 "$TMP/full.gguf" \
    >"$TMP/out" 2>"$TMP/err" </dev/null)
status=$?
expect_failure synth_tells_full_disk full.gguf
expect_equal synth_leaves_nothing "$(ls "$TMP" | grep -c full)" 0
run "$OCTET" synth --arch mistral-7b-tiny "$TMP/no/such/folder.gguf"
expect_failure synth_folder_missing folder
for arch in mixtral-8x7b-tiny phi-2-tiny llama-tiny; do
    run "$OCTET" synth --arch $arch --type q8_0 "$TMP/$arch.gguf"; expect_exit "synth_$arch" 0
    run "$OCTET" run -m "$TMP/$arch.gguf" -p Hi -n 4 --ignore-eos --json
    expect_json "run_$arch" 'j["completion_tokens"]' 4
done
run "$OCTET" inspect --json "$TMP/llama-tiny.gguf"
expect_json inspect_counts_an_embedding_that_is_the_output \
    "j['plan']['resident_weight_bytes'] == j['bytes']" True

run "$OCTET" doctor --dir "$TMP" --json
expect_exit doctor_works 0
expect_json doctor_self_test \
    'j["kernels"] is not None and j["cores"] > 0 and len(j["models"]) > 10' True
expect_json doctor_measures 'j["memory_gb_per_s"] > 0 and j["int8_gops"] > j["float_gops"] > 0' True
run "$OCTET" doctor --dir "$TMP/none"; expect_exit doctor_without_folder 0
expect_stdout doctor_says_what_failed 'not measured'
finish

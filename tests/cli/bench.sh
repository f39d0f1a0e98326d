#!/bin/bash
# octet bench: which tests run, and that what is derived from their speeds adds up.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf

run "$OCTET" bench -m "$model" --prompt 16 --gen 8 --depth 8 --batch 2 -r 2 -t 2 --json
expect_exit bench_works 0
cp "$TMP/out" "$TMP/dense"
expect_json bench_tests '[(t["test"], t["n"], t["depth"], t["threads"]) for t in j]' \
    "[('prefill', 16, 8, 2), ('decode', 8, 8, 2), ('batch', 2, 8, 2)]"
keys="tokens_per_s spread gb_per_s ceiling_gb_per_s gops ceiling_gops share peak_rss_bytes"
expect_json bench_keys "all(t[k] >= 0 for k in '$keys'.split() for t in j)" True
expect_json bench_first_token 'all(t["first_token_s"] > 0 for t in j)' True
expect_json bench_extremes \
    'all(t["min_tokens_per_s"] <= t["tokens_per_s"] <= t["max_tokens_per_s"] for t in j)' True
near='lambda a, b: abs(a - b) <= 1e-6 * abs(b)'
expect_json bench_bytes_add_up "all(($near)(t['gb_per_s'] * 1e9, t['tokens_per_s'] *
    (t['weight_bytes_per_token'] + t['kv_bytes_per_token'])) for t in j)" True
expect_json bench_operations_add_up \
    "all(($near)(t['gops'] * 1e9, t['tokens_per_s'] * 2 * t['macs_per_token']) for t in j)" True
expect_json bench_shares "[t['share'] == t[k] for t, k in
    zip(j, 'compute_share memory_share memory_share'.split())]" "[True, True, True]"
expect_json bench_one_ceiling_per_depth 'len({t["ceiling_gb_per_s"] for t in j})' 1
expect_json bench_share_of_the_ceiling \
    "all(($near)(t['memory_share'], t['gb_per_s'] / t['ceiling_gb_per_s']) for t in j)" True
expect_json bench_reads_are_medians "all(
    len(w) == 12 and ($near)(v, sorted(w)[5] / 2 + sorted(w)[6] / 2) for t in j
    for v, w in zip(t['reads_gb_per_s'], zip(*t['read_turns_gb_per_s'])))" True
expect_equal bench_half_the_turns_choose_the_way "$(python3 - "$TMP/out" <<'END'
import json, statistics, sys
def ceiling(turns):
    picked = []
    for mine, others in (turns[::2], turns[1::2]), (turns[1::2], turns[::2]):
        ways = [statistics.median(way) for way in zip(*others)]
        picked += list(zip(*mine))[ways.index(max(ways))]
    return statistics.median(picked)
print({abs(ceiling(t["read_turns_gb_per_s"]) / t["ceiling_gb_per_s"] - 1) < 1e-6
       for t in json.load(open(sys.argv[1]))})
END
)" "{True}"
expect_json bench_batch_shares_weights \
    'j[1]["weight_bytes_per_token"] == 2 * j[2]["weight_bytes_per_token"]' True
expect_json bench_batch_has_caches_of_its_own \
    'j[1]["kv_bytes_per_token"] == j[2]["kv_bytes_per_token"] > 0' True
expect_json bench_prefill_skips_logits \
    'j[0]["macs_per_token"] < j[1]["macs_per_token"] == j[2]["macs_per_token"]' True
run "$OCTET" inspect --json "$model"
expect_equal bench_reads_what_inspect_says "$(json "$TMP/out" 'j["plan"]["decode_bytes"]')" \
    "$(json "$TMP/dense" 'j[1]["weight_bytes_per_token"]')"

run "$OCTET" bench -m "$model" --prompt 0 --gen 2 --depth 64,0,5,5 --batch 3,1 -r 3 --no-ceilings \
    --csv "$TMP/b.csv" --json
expect_json bench_lists '[(t["test"], t["n"], t["depth"]) for t in j]' \
    "$(python3 -c 'print([t for d in (0, 5, 64)
        for t in (("decode", 2, d), ("batch", 1, d), ("batch", 3, d))])')"
expect_json bench_without_ceilings \
    '{t[k] for t in j for k in ("share", "ceiling_gops", "ceiling_gb_per_s")}' "{None}"
expect_json bench_deeper_reads_more \
    'j[0]["kv_bytes_per_token"] < j[3]["kv_bytes_per_token"] < j[6]["kv_bytes_per_token"]' True
cp "$TMP/out" "$TMP/json"
run "$OCTET" bench -m "$model" --prompt 4 --gen 0 -r 1 --no-ceilings --csv "$TMP/b.csv" --json
expect_equal bench_csv_holds_all "$(python3 - "$TMP" <<'END'
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1] + "/b.csv")))
results = json.load(open(sys.argv[1] + "/json")) + json.load(open(sys.argv[1] + "/out"))
same = len(rows) == len(results) == 10 and all(
    row[k] == "" if v is None else row[k] == v if isinstance(v, str) else
    abs(float(row[k]) - v) <= 1e-6 * abs(v) for row, r in zip(rows, results) for k, v in r.items()
    if not isinstance(v, list))
print(same and rows[0]["model"] == "m.gguf")
END
)" True
run "$OCTET" bench -m "$model" --prompt 4 --gen 0 -r 1 --no-ceilings --csv "$TMP/no/b.csv"
expect_failure bench_csv_no_folder no/b.csv

"$OCTET" synth --arch mixtral-8x7b-tiny --type q4_k_m "$TMP/moe.gguf" >/dev/null 2>&1
run "$OCTET" bench -m "$TMP/moe.gguf" --prompt 0 --gen 2 --batch 1,2,64 -r 1 --no-ceilings --json
expect_json bench_moe_one_is_decode \
    'abs(j[0]["weight_bytes_per_token"] / j[1]["weight_bytes_per_token"] - 1) < 1e-9' True
expect_json bench_moe_union_grows \
    '(lambda w: w[1] < 2 * w[2] < 64 * w[3])([t["weight_bytes_per_token"] for t in j])' True

"$OCTET" synth --arch mistral-7b-tiny --type f16 "$TMP/f16.gguf" >/dev/null 2>&1
run "$OCTET" bench -m "$TMP/f16.gguf" --prompt 4 --gen 0 -r 1 --json
expect_json bench_float_weights_have_their_ceiling \
    "j[0]['ceiling_gops'] < $(json "$TMP/dense" 'j[0]["ceiling_gops"]')" True

run "$OCTET" bench -m "$model" --prompt 0 --gen 4 -r 1; expect_stdout bench_table decode
expect_stdout bench_table_tells_ceilings 'memory reads'
run "$OCTET" bench -m "$model" --prompt 1 --gen 1 --depth 0,1 --batch 2 -r 2 --no-ceilings --json
expect_json bench_single_steps 'len(j) == 6 and all(t["tokens_per_s"] > 0 for t in j)' True
run "$OCTET" bench -m "$model" --warm --prompt 4 --gen 0 -r 1 --no-ceilings
expect_stdout bench_warm prefill
run "$OCTET" bench -m "$model" --prompt 64 -c 16 --no-ceilings
expect_failure bench_context_too_small context
for list in 1,x , 1, -1 99999999999; do
    run "$OCTET" bench -m "$model" --depth=$list; expect_misuse "bench_depth_$list" --depth
    run "$OCTET" bench -m "$model" --batch=$list; expect_misuse "bench_batch_$list" --batch
done
finish

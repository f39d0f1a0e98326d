#!/bin/bash
# octet compare, report and eval: the whole path, from tasks to a page, with reference solutions,
# recorded fixtures and a model of random weights.
. tests/cli/lib.sh
export XDG_DATA_HOME="$TMP/data" XDG_CONFIG_HOME="$TMP/config"
model="$TMP/tiny.gguf"
"$OCTET" synth --arch llama-tiny --type q8_0 --layers 1 "$model" 2>/dev/null

cat >"$TMP/tasks.yaml" <<'END'
id: t/add
language: python
prompt: Write a Python function add(a, b) that returns the sum.
entry: add
reference: |
  def add(a, b):
      return a + b
wrong:
  - |
    def add(a, b):
        return a - b
calls:
  - {args: [1, 2], expect: 3}
  - {args: [-1, 1], expect: 0}
---
id: t/double
language: shell
prompt: Write a bash script that reads a number and prints its double.
reference: |
  read -r n
  echo $((2 * n))
cases:
  - {stdin: "21\n", expect: "42\n"}
END
last_line() { tail -n 1 "$TMP/out" >"$TMP/line"; mv "$TMP/line" "$TMP/out"; }

# ---- The way through ----------------------------------------------------------------------------
compare=("$OCTET" compare "$TMP/tasks.yaml" --unsafe-exec)
run "${compare[@]}" --models reference --json; expect_exit reference_runs 0; last_line
expect_json reference_solves_all '[(m["tasks"], m["solved"]) for m in j["models"]]' '[(2, 2)]'
run "${compare[@]}" --models reference,"$model" -n 8 --html "$TMP/page.html" --md "$TMP/page.md" \
    --csv "$TMP/rows.csv"
expect_exit model_against_reference 0
expect_stdout table_names_models reference
expect_in page_is_written "$TMP/page.html" '</html>'
expect_in markdown_is_written "$TMP/page.md" tiny
expect_equal a_row_per_answer "$(wc -l <"$TMP/rows.csv")" 5
run "$OCTET" report --html "$TMP/again.html"; expect_exit report_is_made_again 0
expect_equal report_is_the_same "$(cmp "$TMP/page.html" "$TMP/again.html" && echo yes)" yes
run "$OCTET" report --list; expect_stdout runs_are_listed tasks

mkdir -p "$XDG_DATA_HOME/octet/tasks"; cp "$TMP/tasks.yaml" "$XDG_DATA_HOME/octet/tasks/mine.yaml"
run "$OCTET" compare mine --models reference --unsafe-exec; expect_exit pulled_sets_have_names 0
run "$OCTET" compare humaneval --models reference
expect_failure known_sets_can_be_pulled 'octet pull humaneval'

# ---- Settings of one model -----------------------------------------------------------------------
run "${compare[@]}" -n 8 --json \
    --models "a=local:kv=q8_0,$model b=local:kv=q4_0:prompt=raw:temp=1,$model"
expect_exit models_have_settings 0; last_line
expect_json settings_make_two_models '[m["name"] for m in j["models"]]' "['a', 'b']"
run "${compare[@]}" --models "a=local:kv=q4,$model"; expect_failure bad_setting 'one of f16'
run "${compare[@]}" --models "a=local:k=q4,$model"; expect_failure unknown_setting "'k=q4'"

# ---- Recorded, replayed -------------------------------------------------------------------------
run "${compare[@]}" --models "$model,reference" -n 8 --record "$TMP/kept" --store "$TMP/one.db" \
    --json --html "$TMP/one.html"
expect_exit recording_works 0; cp "$TMP/out" "$TMP/first"
sleep 1 # another second, in which nothing may show
run "${compare[@]}" --models "$model,reference" -n 8 --replay "$TMP/kept" --store "$TMP/two.db" \
    --json --html "$TMP/two.html"
expect_exit replay_works 0
expect_equal replay_gives_the_same "$(cat "$TMP/out")" "$(cat "$TMP/first")"
expect_files_equal replay_gives_the_same_report "$TMP/one.html" "$TMP/two.html"

# ---- Choices ------------------------------------------------------------------------------------
for i in 1 2 3; do
    echo '{"query": "Q: what?", "choices": ["this one", "that one"], "gold": 0}'
done >"$TMP/rows.jsonl"
run "$OCTET" eval "$TMP/rows.jsonl" -m "$model" --json --rows "$TMP/picked.jsonl"
expect_json eval_counts_rows 'j["n"]' 3
expect_equal eval_writes_rows "$(wc -l <"$TMP/picked.jsonl")" 3
run "$OCTET" eval "$TMP/rows.jsonl" -m "$model"; expect_stdout eval_shows_intervals intervals
cp "$TMP/rows.jsonl" "$XDG_DATA_HOME/octet/tasks/rows.jsonl"
run "$OCTET" eval rows -m "$model"; expect_exit eval_finds_pulled_rows 0
run "$OCTET" eval gsm8k -m "$model"; expect_failure known_rows_can_be_pulled 'octet pull gsm8k'
echo '{"question": "2 + 3?", "answer": "#### 5"}' >"$TMP/number.jsonl"
run "$OCTET" eval "$TMP/number.jsonl" -m "$model" -n 4 --json
expect_json eval_numbers 'j["n"]' 1

# ---- Wrong use ----------------------------------------------------------------------------------
run "$OCTET" compare; expect_exit compare_needs_tasks 2
run "$OCTET" compare core; expect_exit compare_needs_models 2
run "$OCTET" compare "$TMP/none.yaml" --models reference; expect_failure missing_tasks none.yaml
run "$OCTET" compare core --models no-such-model; expect_failure unknown_model no-such-model
run "${compare[@]}" --models reference --only nothing; expect_failure no_task_left nothing
echo 'id: [' >"$TMP/bad.yaml"
run "$OCTET" compare "$TMP/bad.yaml" --models reference; expect_failure bad_yaml bad.yaml
run "$OCTET" report 99; expect_failure unknown_run 99
run "$OCTET" eval "$TMP/tasks.yaml" -m "$model"; expect_failure eval_wants_rows tasks.yaml
finish

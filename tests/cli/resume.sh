#!/bin/bash
# octet compare that is killed again and again: what was answered once is not asked, or paid, twice.
. tests/cli/lib.sh
export XDG_DATA_HOME="$TMP/data" XDG_CONFIG_HOME="$TMP/config"

mkfifo "$TMP/leash"
python3 tests/fake_api.py "$TMP/port" "$TMP/log" <"$TMP/leash" &
exec 9>"$TMP/leash" # the server ends when this does
for _ in $(seq 100); do [ -s "$TMP/port" ] && break; sleep 0.1; done
port=$(cat "$TMP/port")

cat >"$TMP/tasks.yaml" <<'END'
id: t/add
language: python
prompt: Write a Python function add(a, b) that returns the sum.
entry: add
calls:
  - {args: [1, 2], expect: 3}
END
n=120 parallel=4 n_kills=0
compare=("$OCTET" compare "$TMP/tasks.yaml" --unsafe-exec --yes --samples $n --parallel $parallel
         --models "fixture=openai,http://127.0.0.1:$port/ok/v1,fixture-1" --json)
asked() { grep -c '"path"' "$TMP/log"; }

for pause in 0.3 0.5 0.7 0.4 0.6; do
    "${compare[@]}" >/dev/null 2>"$TMP/killed" </dev/null &
    sleep "$pause"
    kill -KILL $! 2>/dev/null && n_kills=$((n_kills + 1))
    wait $! 2>/dev/null
done
before=$(asked)
run "${compare[@]}"
expect_exit goes_on_after_kills 0
expect_stderr says_that_it_goes_on 'going on with run'
expect_stderr says_what_is_there "of $n answers are there"
most=$((n + n_kills * parallel))
if [ "$(asked)" -ge $n ] && [ "$(asked)" -le $most ] && [ "$before" -gt 0 ]; then
    ok nothing_is_asked_twice
else
    fail nothing_is_asked_twice "$(asked) questions, $before before the last run, at most $most"
fi
run "$OCTET" report --export "$TMP/run.json"; expect_exit exports 0
expect_equal every_answer_is_there_once "$(python3 -c "
import json
run = json.load(open('$TMP/run.json'))
answers = run['answers']
print(len(answers), len({a['sample'] for a in answers}))")" "$n $n"
exec 9>&-
finish

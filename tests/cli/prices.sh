#!/bin/bash
# Prices: the arithmetic of December 2023, what is unpriced, and the user's own book.
. tests/cli/lib.sh
export XDG_CONFIG_HOME=$TMP/config
book=$XDG_CONFIG_HOME/octet/prices.json

for verb in "" list compare convert add add-rate; do
    run "$OCTET" prices $verb --help # unquoted: no verb is no argument
    expect_exit "prices_help_exits_0_${verb:-itself}" 0
    expect_stdout "prices_help_has_usage_${verb:-itself}" "Usage: octet prices${verb:+ $verb}"
    expect_stdout "prices_help_has_examples_${verb:-itself}" "Examples:"
    run "$OCTET" prices $verb --no-such-option
    expect_misuse "prices_refuses_unknown_option_${verb:-itself}" "unknown option"
done
run "$OCTET" prices; expect_misuse prices_needs_a_verb "list | compare"
run "$OCTET" prices lits; expect_misuse prices_suggests_verb "did you mean 'list'"
run "$OCTET" prices frobnicate; expect_misuse prices_unknown_verb "unknown verb 'frobnicate'"

# ---- The article's claim -------------------------------------------------------------------------
day=2023-12-13
run "$OCTET" prices compare mistral-medium gpt-4-turbo gpt-4 --date $day
expect_exit compare_exits_0 0
line() { grep -A"${2:-0}" -- "^$1" "$TMP/out" | tail -1 | tr -s ' '; } # LINE [LINES-FURTHER-DOWN]
expect_equal medium_against_turbo "$(line 'mistral-medium than gpt-4-turbo')" \
    "mistral-medium than gpt-4-turbo 73.0 % 73.0 % 73.0 % 73.0 %"
expect_equal turbo_with_euros_as_dollars "$(line 'mistral-medium than gpt-4-turbo' 1)" \
    " if EUR were read as USD 75.0 % 75.0 % 75.0 % 75.0 %"
expect_equal medium_against_gpt_4 "$(line 'mistral-medium than gpt-4 ')" \
    "mistral-medium than gpt-4 91.0 % 86.5 % 88.0 % 86.6 %"
expect_stdout rate_is_said "1 EUR = 1.08 USD, of 2024-02-26: Mistral's own conversion"
expect_stdout source_is_said "gpt-4: langchain-ai/langchain"
expect_stdout day_it_was_read_is_said "read 2026-"

run "$OCTET" prices compare gpt-4 gpt-4-turbo mistral-medium gpt-3.5-turbo-1106 mistral-small \
    --date $day --in 100 --out 1500
calls=$(awk '/^(mistral|openai)\// { print $NF }' "$TMP/out" | tr '\n' ' ')
expect_equal one_answer "$calls" "0.0930 0.0460 0.0124 0.0031 0.0030 "

run "$OCTET" prices compare mistral-medium gpt-3.5-turbo-1106 --date $day --json
expect_json compare_json_saving 'round(j["pairs"][0]["saving"]["output"], 6)' -3.05
expect_json compare_json_per_1000 'round(j["models"][0]["output_per_1000"], 9)' 0.0081
expect_json compare_json_rate 'j["rates"][0]["rate"], j["rates"][0]["date"]' "(1.08, '2024-02-26')"
expect_json compare_json_row 'j["models"][0]["price"]["currency"]' EUR
run "$OCTET" prices compare mistral-medium gpt-4 --date 2024-03-01 --json
expect_json listed_dollars_need_no_rate 'j["rates"], j["models"][0]["price"]["output"]' "([], 8.1)"
run "$OCTET" prices compare mistral-medium --date $day --currency EUR
expect_exit one_model_is_enough 0
expect_stdout compare_in_euros "EUR per million tokens"

# ---- Unpriced ------------------------------------------------------------------------------------
run "$OCTET" prices compare gtp-4
expect_failure unknown_model "unpriced: no price book has 'gtp-4'"
expect_stderr unknown_model_suggests "did you mean 'gpt-4'"
run "$OCTET" prices compare codestral; expect_stderr part_of_a_name_suggests "'codestral-2508'"
run "$OCTET" prices compare acme; expect_failure no_name_is_near "no price book has 'acme'"
run "$OCTET" prices compare gpt-5 --date $day; expect_failure not_yet_priced "from 2026-08-05 on"
run "$OCTET" prices compare mistral-tiny --date 2026-01-01
expect_failure no_longer_priced "to 2024-02-25"
run "$OCTET" prices compare gpt-5.6-sol --in 272001; expect_failure tier_is_not_guessed unpriced
run "$OCTET" prices compare openai/gpt-4 --date $day; expect_exit provider_may_be_named 0
run "$OCTET" prices compare mistral/gpt-4 --date $day; expect_failure provider_must_fit unpriced
run "$OCTET" prices compare gpt-4 --date 2023-2-1; expect_misuse date_must_be_one "2023-12-13"
run "$OCTET" prices compare gpt-4 --currency euro; expect_misuse currency_must_be_one "EUR"
run "$OCTET" prices compare gpt-4 --currency JPY; expect_failure no_rate "between USD and JPY"
run "$OCTET" prices compare; expect_misuse compare_needs_a_model "too few arguments"

# ---- List and convert ----------------------------------------------------------------------------
run "$OCTET" prices list --model gpt-4 --date $day
expect_exit list_exits_0 0
expect_equal list_is_filtered "$(grep -c ^openai/gpt-4 "$TMP/out")" 2
run "$OCTET" prices list --model 'openai/gpt-3.5*' --json
expect_json list_json_knows_history 'len(j["prices"])' 4
expect_json list_json_has_sources 'all(len(p["source"]) > 10 for p in j["prices"])' True
run "$OCTET" prices list --model nothing; expect_failure list_of_nothing "no price matches"
run "$OCTET" prices list --date 2026-11-01 --currency usd; expect_exit list_converts 0
expect_equal stated_prices_are_not_converted "$(grep -c mistral-medium-3.5 "$TMP/out")" 1
run "$OCTET" prices convert 7.5 EUR USD --date $day
expect_stdout convert_says_the_sum "7.50 EUR = 8.10 USD"
expect_stdout convert_says_the_rate "1 EUR = 1.08 USD, of 2024-02-26"
run "$OCTET" prices convert 1e-5 USD EUR --date $day; expect_stdout no_sum_is_zero "= 0.0000093 EUR"
run "$OCTET" prices convert x USD EUR; expect_misuse convert_takes_a_number "expected a number"
run "$OCTET" prices convert 1 USD XYZ; expect_failure convert_needs_a_rate "no exchange rate"

# ---- The user's book -----------------------------------------------------------------------------
add() { run "$OCTET" prices add --currency USD --source bill --from 2023-12-01 "$@"; }
add --provider acme --model coder-1 --input 0.2 --output 0.8 --alias coder
expect_exit add_exits_0 0
expect_stdout add_says_where "added to $book"
run "$OCTET" prices compare coder gpt-4 --date $day; expect_stdout added_is_priced "acme/coder-1"
add --provider acme --model coder-1 --input 1 --output 1
expect_failure add_refuses_overlap "$book: prices[1] (acme coder-1): overlaps in time with"
add --provider acme --model coder-2 --input -1 --output 1
expect_failure add_refuses_negative "'input': expected 0 to 1e+09"
add --provider acme --model coder-2 --input nan --output 1; expect_misuse add_refuses_nan "a number"
add --provider acme --model coder-2 --input 1
expect_misuse add_needs_output "--output PRICE is missing"
add --provider acme --model 'a b' --input 1 --output 1
expect_failure add_refuses_blanks "without blanks"
add --provider acme --model $'\x80' --input 1 --output 1; expect_failure add_needs_utf_8 UTF-8
expect_equal refused_rows_are_not_kept "$(json "$book" 'len(j["prices"])')" 1
add --provider azure --model gpt-4 --input 33 --output 66
run "$OCTET" prices compare gpt-4 --date $day
expect_failure two_sellers "write openai/gpt-4 or azure/gpt-4"
run "$OCTET" prices compare azure/gpt-4 --date $day; expect_stdout seller_chosen "33.00 / 66.00 USD"
add --provider openai --model gpt-4 --unit 1000 --input 0.04 --output 0.05
run "$OCTET" prices compare openai/gpt-4 --date $day
expect_stdout own_price_wins "40.00 / 50.00 USD"
run "$OCTET" prices list --model acme; expect_stdout added_is_marked "(added)"
run "$OCTET" prices add-rate EUR USD 1.5 --date $day --source 'my bank'; expect_exit add_rate 0
run "$OCTET" prices convert 2 EUR USD --date $day; expect_stdout own_rate_wins "2.00 EUR = 3.00 USD"
run "$OCTET" prices add-rate EUR EUR 1 --date $day --source x; expect_failure same_currencies "same"
for i in 1 2 3 4 5 6 7 8; do
    "$OCTET" prices add --provider p --model "m$i" --currency EUR --input 1 --output 2 \
        --from $day --source s >/dev/null 2>&1 &
done
wait
expect_equal adding_at_once_loses_nothing "$(json "$book" 'len(j["prices"])')" 11
expect_equal nothing_is_left_beside "$(ls "$XDG_CONFIG_HOME/octet")" prices.json

echo '{"prices": [{"provider": "p"}]}' >"$book"
run "$OCTET" prices list; expect_failure broken_book_names_entry "$book: prices[0] (p ?): 'model'"
echo '{' >"$book"; run "$OCTET" prices list; expect_failure broken_json_names_line "$book: line 2"
rm "$book"; mkdir "$book"; run "$OCTET" prices list
expect_failure book_must_be_a_file "not a regular"
export XDG_CONFIG_HOME=/proc/octet
add --provider acme --model coder-1 --input 0.2 --output 0.8
expect_failure add_tells_io "/proc/octet"
finish

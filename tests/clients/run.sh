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

"$octet" serve -m "$model" --port 0 -q 2>"$folder/serve.log" &
server=$!
trap 'kill $server 2>/dev/null' EXIT
for _ in $(seq 300); do grep -q http:// "$folder/serve.log" && break; sleep 0.1; done
url=$(grep -o 'http://.*' "$folder/serve.log")
results=$folder/results.log
: >"$results"
for script in "$folder"/*.mjs; do
    [ -e "$script" ] && [ "$(basename "$script")" != lib.mjs ] || continue
    timeout 300 node "$script" "$url" 2>&1 | tee -a "$results"
done
if [ -x "$folder/venv/bin/python" ]; then
    timeout 300 "$folder/venv/bin/python" tests/clients/sdks.py "$url" 2>&1 | tee -a "$results"
fi
passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^FAIL ' "$results")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

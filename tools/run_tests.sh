#!/bin/bash
# Runs the checks and counts them: tools/run_tests.sh FLAVOUR [STEP...]
# FLAVOUR is the build the unit and program tests use: asan, cov, or aarch64 (a cross build, run by
# an emulator). Without steps: all of them.
# Every check is one line "ok NAME" or "FAIL NAME"; the output of a failed one is shown. The last
# line is "N passed, N failed"; the exit status is 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.."

flavour=${1:?usage: tools/run_tests.sh asan|cov|aarch64 [STEP...]}
shift
steps=("$@")
[ ${#steps[@]} -gt 0 ] ||
    steps=(style release build unit cli header install example clang neon fuzz)
build=${BUILD:-build}
logs=$build/logs
mkdir -p "$logs"
emulator=
seconds=600 # for one program of tests
left_out=" " # tests the emulator can not run
build_tests=("$build/$flavour/octet" "tests-$flavour")
[ "$flavour" = asan ] && build_tests=(kernels-asan "${build_tests[@]}")
program=$build/$flavour/octet
if [ "$flavour" = aarch64 ]; then
    emulator=qemu-aarch64
    seconds=1500
    # They lock programs in, which is not possible under the emulator, start the program under test
    # by themselves, or take too long.
    left_out=" test_box test_builtin_tasks test_funnel test_grade test_score box chat compare lsp"
    left_out+=" prices pull resume serve serve_dialects serve_forms constrained "
    build_tests=(ARCH=aarch64 tests)
    program=$build/aarch64/emulated/octet # tests call it by a path
    mkdir -p "$build/aarch64/emulated"
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$emulator" "$(realpath -m "$build/aarch64/octet")" \
        >"$program"
    chmod +x "$program"
fi
OCTET_GRAMMARS=$(realpath -m "$build/liboctet-grammars.so")
export OCTET_GRAMMARS
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
passed=0
failed=0

pass() {
    passed=$((passed + ${2:-1}))
    echo "ok $1"
}
fail() { # NAME LOG [HOW_MANY]
    failed=$((failed + ${3:-1}))
    echo "FAIL $1"
    tail -n 40 "$2" | sed 's/^/    /'
}
# check NAME COMMAND...: one counted check; false if it failed
check() {
    local name=$1 log=$logs/$1.log
    shift
    if "$@" >"$log" 2>&1; then
        pass "$name"
    else
        fail "$name" "$log"
        return 1
    fi
}

step_style() { check style tools/check_style.sh; }
step_release() {
    check build-release make WERROR=-Werror all || skip="$skip install example"
}
# Without a build there is nothing to run; what failed is counted once.
step_build() {
    make grammars & # without a network, what needs them is left out
    check "build-$flavour" make "${build_tests[@]}" || skip="$skip unit cli hashes"
    check unique-names names_are_unique
    wait
}

# The linker takes the first of two functions of the same name from archives, without a word.
names_are_unique() {
    local twice
    twice=$(for part in "$build/$flavour"/lib{octet,compare,server}.a "$build/$flavour/cli"; do
        find "$part" -name '*.[ao]' -exec nm --defined-only -g {} + 2>/dev/null |
            awk 'NF == 3 && $2 ~ /[TDBR]/ { print $3 }' | grep -v '^__' | sort -u
    done | sort | uniq -d)
    [ -z "$twice" ] || { echo "defined twice: $twice"; return 1; }
}

# Unit tests report through cmocka: an "[       OK ]" line per test, the number of failures last.
count_unit() { # NAME LOG STATUS
    local ok bad
    ok=$(grep -c '^\[       OK \]' "$2")
    bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test(s).*/\1/p' "$2" | tail -n 1)
    passed=$((passed + ok))
    if [ "$3" = 0 ] && [ "$ok" -gt 0 ]; then
        echo "ok $1 ($ok)"
        return
    fi
    # A crash loses the count, and counts as one.
    [ "${bad:-0}" -gt 0 ] || bad=1
    # A failed test leaks what it held: of no interest.
    grep -vE '^\[( RUN      |       OK )\]' "$2" | sed '/ERROR: LeakSanitizer/,$d' >"$2.short"
    [ "$(grep -c . "$2.short")" -gt 2 ] || cp "$2" "$2.short"
    fail "$1" "$2.short" "$bad"
}
is_run() {
    [[ $left_out != *" $1 "* ]] && return
    echo "skipped: $1 (not under an emulator)"
    return 1
}
# Runs COMMAND for each NAME, which is {} in it, one per core and one more, since some wait; each
# leaves its log and exit status.
slow=(test_builtin_tasks test_bits test_grade test_box test_tokenizer test_api
      serve_hostile files resume lsp pull bench) # begin first
run_each() { # COMMAND LOG_PREFIX NAME...
    local command=$1 prefix=$2 name
    shift 2
    for name in "${slow[@]}"; do
        [[ " $* " == *" $name "* ]] && echo "$name"
    done >"$logs/order"
    printf '%s\n' "$@" | grep -vxF -f "$logs/order" >>"$logs/order"
    xargs -P $(($(nproc) + 1)) -I{} sh -c \
        "$command >$logs/$prefix{}.log 2>&1; echo \$? >$logs/$prefix{}.status" <"$logs/order"
}

step_unit() {
    local source name
    local -a names=()
    for source in tests/test_*.c; do
        name=$(basename "$source" .c)
        [ -e "$source" ] && is_run "$name" && names+=("$name")
    done
    run_each "timeout $seconds $emulator $build/$flavour/tests/{}" "" "${names[@]}"
    for name in "${names[@]}"; do
        count_unit "$name" "$logs/$name.log" "$(cat "$logs/$name.status")"
    done
}

# Program tests print their own "ok NAME" and "FAIL NAME" lines.
count_cli() { # NAME LOG STATUS
    local ok bad
    ok=$(grep -c '^ok ' "$2")
    bad=$(grep -c '^FAIL ' "$2")
    passed=$((passed + ok))
    if [ "$3" = 0 ] && [ "$bad" = 0 ]; then
        echo "ok $1 ($ok)"
    else
        [ "$bad" -gt 0 ] || bad=1
        fail "$1 (exit $3)" "$2" "$bad"
    fi
}
step_cli() {
    local script name
    local -a names=()
    for script in tests/cli/*.sh; do
        name=$(basename "$script" .sh)
        [ "$name" != lib ] && [ -e "$script" ] && is_run "$name" && names+=("$name")
    done
    OCTET=$(realpath "$program") \
        run_each "timeout $seconds bash tests/cli/{}.sh" cli- "${names[@]}"
    for name in "${names[@]}"; do
        count_cli "cli-$name" "$logs/cli-$name.log" "$(cat "$logs/cli-$name.status")"
    done
}

read -ra cc <<<"${CC:-cc}" # may be two words: ccache gcc
step_header() {
    local warn=(-Wall -Wextra -Werror -fsyntax-only -Iinclude)
    check header-c "${cc[@]}" -std=c11 -pedantic "${warn[@]}" -x c include/octet.h
    command -v "${CXX:-g++}" >/dev/null || { echo "skipped: header-c++ (no g++)"; return; }
    check header-c++ "${CXX:-g++}" -std=c++11 -pedantic "${warn[@]}" -x c++ include/octet.h
}

root=$build/stage
step_install() {
    rm -rf "$root"
    check install make install DESTDIR="$root" PREFIX=/usr || return
    check installed-program "$root/usr/bin/octet" --version
    check installed-exports exports_octet_names_only
    check uninstall uninstall_leaves_nothing
}
exports_octet_names_only() {
    local names
    names=$(nm -D --defined-only "$root/usr/lib/liboctet.so" | awk '$2 ~ /[A-Z]/ { print $3 }')
    [ -n "$names" ] && ! grep -v '^octet_' <<<"$names"
}
uninstall_leaves_nothing() {
    local copy=$build/stage-copy
    rm -rf "$copy"
    cp -a "$root" "$copy"
    make uninstall DESTDIR="$copy" PREFIX=/usr
    [ -z "$(find "$copy" ! -type d -print)" ]
}

# The example against the installed files, linked both ways, with a tiny model.
step_example() {
    local model=$build/example.gguf
    local -a cflags libs static
    export PKG_CONFIG_PATH=$root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
    read -ra cflags < <(pkg-config --cflags octet)
    read -ra libs < <(pkg-config --libs octet)
    read -ra static < <(pkg-config --static --libs octet | sed 's/-loctet/-l:liboctet.a/')
    check example-shared "${cc[@]}" -std=c11 -Wall -Wextra -Werror -o "$build/example" \
        docs/example.c "${cflags[@]}" "-I$root/usr/include" "${libs[@]}" "-L$root/usr/lib"
    check example-static "${cc[@]}" -std=c11 -Wall -Wextra -Werror -o "$build/example-static" \
        docs/example.c "${cflags[@]}" "-I$root/usr/include" "-L$root/usr/lib" "${static[@]}"
    check example-model "$build/octet" synth --arch mistral-7b-tiny --type q4_k_m "$model"
    check example-run-shared env LD_LIBRARY_PATH="$root/usr/lib" "$build/example" "$model" "Hello"
    check example-run-static "$build/example-static" "$model" "Hello"
    check example-no-model fails_politely "$build/example-static" /nonexistent "Hello"
}
fails_politely() {
    "$@"
    [ $? = 1 ]
}

has_clang() {
    command -v "${CLANG:-clang}" >/dev/null && return
    echo "skipped: $1 (no clang)"
    return 1
}
step_clang() { has_clang clang && check clang make clang-lint; }

step_neon() {
    if [ "$(uname -m)" != x86_64 ] || ! command -v qemu-aarch64 >/dev/null ||
        ! command -v aarch64-linux-gnu-gcc >/dev/null; then
        echo "skipped: neon (the unit tests compare the native kernels)"
        return
    fi
    check build-neon make neon || return
    local log=$logs/neon.log counts
    # All emulated programs side by side.
    xargs -P "$(nproc)" -I{} sh -c "qemu-aarch64 $build/neon/{} 2>&1" <<END &
model_hash scalar >$logs/models-scalar.log
model_hash neon >$logs/models-neon.log
check_neon >$log
END
    check models-host "$build/tests/neon/model_hash" scalar
    wait
    counts=$(sed -n 's/^\(.*: \)\?\([0-9]*\) passed, \([0-9]*\) failed$/\2 \3/p' "$log" | tail -n 1)
    read -r ok bad <<<"${counts:-0 1}"
    passed=$((passed + ok))
    if [ "$bad" = 0 ]; then echo "ok neon ($ok)"; else fail neon "$log" "$bad"; fi
    compare_models scalar
    compare_models neon
}
# The emulated TABLE prints the lines of the native scalar one; each is a test.
compare_models() {
    local name=neon-models-$1 n ok
    n=$(grep -cE ' [0-9a-f]{16}$' "$logs/models-host.log")
    ok=$(grep -cFxf "$logs/models-host.log" "$logs/models-$1.log")
    diff "$logs/models-host.log" "$logs/models-$1.log" >"$logs/$name.log"
    passed=$((passed + ok))
    if [ "$n" -gt 0 ] && [ "$ok" = "$n" ]; then
        echo "ok $name ($ok)"
    else
        fail "$name" "$logs/$name.log" $((n > ok ? n - ok : 1))
    fi
}

# The same logits, text and counts from the emulated program as from this machine's; how much was
# drafted depends on how fast steps are.
step_hashes() {
    local arch type
    for arch in mistral-7b-tiny mixtral-8x7b-tiny phi-2-tiny llama-tiny; do
        for type in q4_k_m q8_0 f16; do
            check "hash-$arch-$type" same_run "$arch" "$type" f16
        done
        check "hash-$arch-q4_0-cache" same_run "$arch" q4_k_m q4_0
    done
}
same_run() { # ARCH TYPE CACHE
    local model=$logs/hash.gguf side
    "$build/octet" synth --arch "$1" --type "$2" "$model" || return
    for side in "$build/octet" "$program"; do
        "$side" run -m "$model" -p "one two three" -n 24 --kv "$3" --temp 0 --ignore-eos --json |
            python3 -c 'import json, sys; j = json.load(sys.stdin)
print({k: v for k, v in j.items() if not k.endswith(("_tps", "_s")) and k != "draft"})'
    done | sort | uniq -c | tee /dev/stderr | grep -q '^ *2 .*logits_hash'
}

# The static program runs where no library of it is installed.
step_slim() {
    local slim=$build/aarch64/slim/octet
    check build-slim make ARCH=aarch64 SLIM=1 build/aarch64/slim/octet || return
    check slim-is-static no_interpreter "$slim"
    check slim-runs "$emulator" "$slim" doctor
}
no_interpreter() { ! readelf -l "$1" | grep INTERP; }

# Every fuzz target on its committed corpus plus what earlier runs found (build/fuzz/found).
step_fuzz() {
    local source name
    local -a names=()
    has_clang fuzz || return
    check build-fuzz make fuzz-build || return
    for source in fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        name=${name#fuzz_}
        names+=("$name")
        mkdir -p "$build/fuzz/found/$name" "fuzz/corpus/$name"
    done
    run_each "$build/fuzz/run/{} -max_total_time=${FUZZ_SECONDS:-5} -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=$build/fuzz/crash-{}- \
        $build/fuzz/found/{} fuzz/corpus/{}" fuzz- "${names[@]}"
    for name in "${names[@]}"; do
        if [ "$(cat "$logs/fuzz-$name.status")" = 0 ]; then
            pass "fuzz-$name"
        else
            fail "fuzz-$name" "$logs/fuzz-$name.log"
        fi
    done
}

skip=
for step in "${steps[@]}"; do
    if [[ " $skip " == *" $step "* ]]; then echo "skipped: $step"; else "step_$step"; fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

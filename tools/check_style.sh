#!/bin/bash
# The part of the style that a script can see. Prints one line per finding; exit 1 if there is any.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8

findings=$(mktemp)
trap 'rm -f "$findings"' EXIT

mapfile -t sources < <(find include src tests fuzz docs -path tests/data -prune -o \
    \( -name '*.c' -o -name '*.h' \) -print 2>/dev/null | sort)
mapfile -t scripts < <(find tests tools bench .ci -path tests/data -prune -o \
    \( -name '*.sh' -o -name '*.py' -o -path '.ci/run' \) -print 2>/dev/null | sort)

# report WHAT: findings on standard input
report() { sed "s|\$|: $1|" >>"$findings"; }

{ grep -nE '^.{101,}$' "${sources[@]}" "${scripts[@]}" || true; } | cut -d: -f1,2 |
    report "longer than 100 columns"
{ grep -nE '[[:space:]]$' "${sources[@]}" "${scripts[@]}" || true; } | cut -d: -f1,2 |
    report "space at the end of the line"
{ grep -nP '\t' "${sources[@]}" || true; } | cut -d: -f1,2 | report "tab"
leftovers='TO''DO|FIX''ME|X''XX|HA''CK'
{ grep -nE "\\b($leftovers)\\b" "${sources[@]}" "${scripts[@]}" || true; } | cut -d: -f1,2 |
    report "unfinished work"

for file in "${sources[@]}"; do
    [ "$(wc -l <"$file")" -le 1000 ] || echo "$file" | report "longer than 1000 lines"
    case $(head -c 2 "$file") in
        '/*' | '//') ;;
        *) echo "$file" | report "does not open with a comment" ;;
    esac
    [ -z "$(tail -c 1 "$file")" ] || echo "$file" | report "no newline at the end"
done

# A function: an unindented line that ends in '{', up to a line that is only '}'.
awk 'FNR == 1 { start = 0 }
     /^[^[:space:]#].*\{$/ { start = FNR }
     /^\{$/ { start = FNR }
     /^\}$/ { if (start && FNR - start + 1 > 100) print FILENAME ":" start; start = 0 }' \
    "${sources[@]}" | report "function longer than 100 lines"

# Which modules each module may include.
arrows() {
    local module=$1 allowed=$2
    [ -d "src/$module" ] || return 0
    { grep -rnE '^#include "[a-z]+/' "src/$module" || true; } |
        { grep -vE "#include \"($allowed)/" || true; } | cut -d: -f1,2 |
        report "$module must not include this module"
}
arrows base 'base'
arrows quant 'base|quant'
arrows format 'base|quant|format'
arrows kernels 'base|quant|kernels'
arrows text 'base|quant|format|text'
arrows model 'base|quant|format|kernels|text|model'
arrows engine 'base|quant|format|kernels|text|model|engine'
arrows compare 'base|compare'
arrows server 'base|server'
arrows lsp 'base|server|lsp'
arrows cli 'base|compare|server|lsp|cli'

for script in "${scripts[@]}"; do
    case $script in
        *.py) ;;
        *) bash -n "$script" 2>/dev/null || echo "$script" | report "bash cannot parse it" ;;
    esac
done

cat "$findings"
[ ! -s "$findings" ]

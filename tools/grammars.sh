#!/bin/bash
# Makes the shared object that holds the tree-sitter grammars:
#     tools/grammars.sh build/liboctet-grammars.so
# Sources come from the npm registry the user's npm is set up for, in the versions and with the
# checksums of tools/grammars.lock, and stay in a folder "grammars" beside the result. What can not
# be had is left out and named: octet works without, with fewer checks of the answers' structure.
set -euo pipefail

out=${1:?usage: tools/grammars.sh OUT.so}
lock=$(dirname "$0")/grammars.lock
folder=$(dirname "$out")/grammars
mkdir -p "$folder"
missing=()
present=()

# The archive, from the folder or from the registry; false if it can not be had.
fetch() { # PACKAGE VERSION SHA512
    local archive=$1-$2.tgz
    if [ ! -e "$folder/$archive" ]; then
        command -v npm >/dev/null || return 1
        (cd "$folder" && npm pack --silent --ignore-scripts --fetch-retries=1 \
            --fetch-timeout=20000 "$1@$2" >/dev/null 2>npm.log) || return 1
    fi
    if ! sha512sum --quiet --check --status <<<"$3  $folder/$archive"; then
        echo "grammars: $archive is not the archive that tools/grammars.lock names" >&2
        rm -f "$folder/$archive"
        return 1
    fi
}

# The tables compile in no time at -O1 and are not octet's to warn about.
compile() { # NAME
    local src=$folder/$1/src part
    for part in parser scanner; do
        [ ! -e "$src/$part.c" ] || ${CC:-cc} ${GRAMMAR_CFLAGS:--O1} -w -fPIC "-I$src" \
            -c "$src/$part.c" -o "$folder/$1/$part.o"
    done
}

# One failed download would only be followed by others.
reachable=yes
while read -r package version sha512; do
    name=${package#tree-sitter-}
    if [ -e "$folder/$package-$version.tgz" ] || [ $reachable = yes ]; then
        if fetch "$package" "$version" "$sha512"; then
            rm -rf "${folder:?}/$name"
            mkdir "$folder/$name"
            tar -xzf "$folder/$package-$version.tgz" -C "$folder/$name" --strip-components=1 \
                package/src package/LICENSE 2>/dev/null ||
                tar -xzf "$folder/$package-$version.tgz" -C "$folder/$name" \
                    --strip-components=1 package/src
            present+=("$name")
            continue
        fi
        reachable=no
    fi
    missing+=("$name")
done < <(grep -v '^#' "$lock")

if [ ${#missing[@]} -gt 0 ]; then
    echo "grammars: not to be had (offline, or no npm?): ${missing[*]}" >&2
    echo "grammars: octet compare will not check the structure of answers in these languages;" \
         "remove $out and run make again once there is a network" >&2
fi
[ ${#present[@]} -gt 0 ] || exit 0

pids=()
for name in "${present[@]}"; do
    compile "$name" &
    pids+=($!)
    [ ${#pids[@]} -lt 2 ] || { wait "${pids[0]}"; pids=("${pids[@]:1}"); }
done
for pid in "${pids[@]}"; do wait "$pid"; done
objects=()
for name in "${present[@]}"; do objects+=("$folder/$name"/*.o); done
${CC:-cc} -shared ${GRAMMAR_CFLAGS:--s} -o "$out" "${objects[@]}"

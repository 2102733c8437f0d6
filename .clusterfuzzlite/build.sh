#!/bin/bash -eu
# Builds the fuzz targets into $OUT, each with its inputs to begin with and its options, as ClusterFuzzLite and OSS-Fuzz ask for it.
#
# Every target but `programs`, which takes root. To try it without their image, with cargo-fuzz:
#   OUT=/tmp/out SANITIZER=none .clusterfuzzlite/build.sh [TARGET...]
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
[ -d ../fuzz ] || cd "$SRC/offramp/.clusterfuzzlite"
cd ../fuzz
# rust-toolchain.toml pins a stable compiler, and sanitizers are of nightly ones.
[ "${SANITIZER:=address}" = none ] || export RUSTUP_TOOLCHAIN="${RUSTUP_TOOLCHAIN:-nightly}"
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || mapfile -t targets < <(cargo fuzz list | grep -vx programs)
# shellcheck source=../fuzz/seeds.sh
source ./seeds.sh

host=$(rustc --version --verbose | sed -n 's/^host: //p')
mkdir -p "$OUT"
for target in "${targets[@]}"; do
    features=()
    [ "$target" != machine ] || features=(--features programs)
    cargo fuzz build --sanitizer "$SANITIZER" "${features[@]}" "$target"
    cp "target/$host/release/$target" "$OUT/"
    printf '[libfuzzer]\nmax_len = 20000\ntimeout = 20\n' >"$OUT/$target.options"
    rm -f "$OUT/${target}_seed_corpus.zip"
    # shellcheck disable=SC2086 # a list of folders
    [ -z "${seeds[$target]:-}" ] || zip --quiet --recurse-paths "$OUT/${target}_seed_corpus.zip" ${seeds[$target]}
done

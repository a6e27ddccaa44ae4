#!/usr/bin/env bash
# Fuzzes the decoders with coverage, each for SECONDS (60): `scripts/fuzz.sh [SECONDS] [TARGET …]`. What is found to reach
# new code stays in the cache and is where the next run begins; `KEEP=1` adds the least that covers as much to the corpus
# in the clone. Compiles all dependencies once more, with instrumentation.
. "$(dirname "$0")/env.sh"
scripts/setup.sh native
seconds="${1:-60}"
[ $# -eq 0 ] || shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls fuzz/corpus)
found="$BUILD_CACHE/fuzz"
export CARGO_TARGET_DIR="$BUILD_CACHE/fuzz-target" RUST_BACKTRACE=0
mkdir -p "$found/artifacts"

# What cargo-fuzz passes, without a sanitizer: those need a nightly compiler, and this code has no `unsafe` to look into.
flags="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=16"
for argument in -sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table \
    -sanitizer-coverage-trace-compares; do
    flags+=" -Cllvm-args=$argument"
done
cp Cargo.lock fuzz/
host="$(rustc -vV | sed -n 's/^host: //p')"
RUSTFLAGS="$flags" cargo build --release --manifest-path fuzz/Cargo.toml --target "$host"
fuzzer="$CARGO_TARGET_DIR/$host/release/decoder"

status=0
for target in "${targets[@]}"; do
    mkdir -p "$found/corpus/$target"
    log="$found/$target.log"
    INSULA_FUZZ_TARGET="$target" "$fuzzer" "$found/corpus/$target" "fuzz/corpus/$target" -max_total_time="$seconds" \
        -max_len=8192 -timeout=10 -rss_limit_mb=4096 -artifact_prefix="$found/artifacts/$target-" -print_final_stats=1 \
        >"$log" 2>&1 || { status=1; tail -5 "$log"; }
    printf '%-16s %s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions, $(
        grep -o 'cov: [0-9]*' "$log" | tail -1), corpus $(ls "$found/corpus/$target" | wc -l)"
    if [ -n "${KEEP:-}" ]; then
        INSULA_FUZZ_TARGET="$target" "$fuzzer" -set_cover_merge=1 "fuzz/corpus/$target" "$found/corpus/$target" \
            >>"$log" 2>&1
    fi
done
exit "$status"

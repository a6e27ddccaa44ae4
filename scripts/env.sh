# Sourced by every script: where things are. Nothing here is inside the clone, so a fresh clone starts warm.
# No name starts with INSULA_: those are settings of the server.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export BUILD_CACHE="${BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/insula}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$BUILD_CACHE/target}"
export BUILD_BIN="${BUILD_BIN:-$CARGO_TARGET_DIR/release/insula}"
VENV="$BUILD_CACHE/venv"
PYTHON="$VENV/bin/python"
export GRPCURL="${GRPCURL:-$BUILD_CACHE/bin/grpcurl}"
cd "$ROOT"

# A step that takes long says what it is and how long it took.
timed() {
    local name="$1" start="$SECONDS" status=0
    shift
    printf '\n== %s\n' "$name"
    "$@" || status=$?
    printf '== %s: %s in %d s\n' "$name" "$([ "$status" = 0 ] && echo ok || echo FAILED)" "$((SECONDS - start))"
    return "$status"
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

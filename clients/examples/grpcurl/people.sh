#!/usr/bin/env bash
# Insula without any driver: grpcurl asks the server what it speaks (reflection), and sends JSON and base64.
#
#     INSULA_ADMIN_PASSWORD=secret insula serve &
#     ./people.sh
set -euo pipefail
GRPCURL="${GRPCURL:-grpcurl}"
ADDRESS="${INSULA_URL:-grpc://127.0.0.1:50051}"
ADDRESS="${ADDRESS#grpc://}"
LOGIN="authorization: Basic $(printf '%s:%s' "${INSULA_USER:-admin}" "${INSULA_PASSWORD:-secret}" | base64 -w0)"
FLIGHT=arrow.flight.protocol.FlightService

call() { # call METHOD JSON
    "$GRPCURL" -plaintext -max-time 30 -H "$LOGIN" -d "$2" "$ADDRESS" "$FLIGHT/$1"
}

# The text of a number as one or more bytes of protobuf: a length.
length() {
    local n="$1" bytes=
    while [ "$n" -gt 127 ]; do
        bytes+="$(printf '\\x%02x' $((n % 128 + 128)))"
        n=$((n / 128))
    done
    printf "$bytes$(printf '\\x%02x' "$n")"
}

# Any { type_url, CommandStatementQuery { query } }, in base64: a Flight SQL command with an SQL text.
command_of() {
    local sql="$1" url=type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery
    local LC_ALL=C inner
    inner=$((${#sql} + 1 + $(length ${#sql} | wc -c)))
    { printf '\n' && length ${#url} && printf '%s' "$url" && printf '\x12' && length "$inner" &&
        printf '\n' && length ${#sql} && printf '%s' "$sql"; } | base64 -w0
}

# GetFlightInfo gives a ticket, DoGet the rows of a ticket: Arrow's schema in the first message, batches in the others.
query() {
    local ticket
    ticket="$(call GetFlightInfo "{\"type\":\"CMD\",\"cmd\":\"$(command_of "$1")\"}" |
        sed -n '/"endpoint"/,$ s/^ *"ticket": "\(.*\)".*/\1/p')"
    call DoGet "{\"ticket\":\"$ticket\"}"
}

query "CREATE TABLE IF NOT EXISTS people (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, age INTEGER)" >/dev/null
query "REPLACE INTO people VALUES (1, 'Ada', 36), (2, 'Grace', 85)" >/dev/null
# Names lie in a batch as they are, so that this shows one without any Arrow library.
query "SELECT name FROM people WHERE age > 40 AND id < 3" |
    sed -n 's/^ *"dataBody": "\(.*\)".*/\1/p' | base64 -d | tr -cd '[:print:]\n'
echo

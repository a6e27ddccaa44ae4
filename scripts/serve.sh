#!/usr/bin/env bash
# Runs the server for development: any user name, no password, loopback only.
. "$(dirname "$0")/env.sh"
scripts/build.sh >&2
exec "$BUILD_BIN" serve --dev "$@"

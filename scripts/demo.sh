#!/usr/bin/env bash
# The demonstration, from nothing: installs, builds, fetches the data, runs, checks.
. "$(dirname "$0")/env.sh"
timed "setup" scripts/setup.sh all
timed "build" scripts/build.sh
exec "$PYTHON" -m demo "$@"

#!/usr/bin/env bash
# Takes the guards of isolation away one at a time and expects a test to fail for each; ARGS are names of mutants.
. "$(dirname "$0")/env.sh"
exec "$PYTHON" tests/mutants/run.py "$@"

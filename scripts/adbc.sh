#!/usr/bin/env bash
# The ADBC ecosystem's validation suite against a real server. The suite is in no package registry, so that it cannot be
# installed here: ADBC_VALIDATION names a Python that has it (see tests/adbc/README.md), or the stage says it was left out.
. "$(dirname "$0")/env.sh"
if [ -z "${ADBC_VALIDATION:-}" ]; then
    echo "not run: ADBC_VALIDATION names no Python with the suite adbc-drivers/validation"
    exit 0
fi
exec "$ADBC_VALIDATION" -m pytest -c tests/adbc/pytest.ini --rootdir . tests/adbc "$@"

#!/bin/bash
# Line coverage of src/ by the unit and program tests: a table, worst files last, and the total.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}

# A test that fills the disk stops the counters too; that is no message of the program's.
export GCOV_ERROR_FILE=/dev/null
find "$build/cov" -name '*.gcda' -delete 2>/dev/null || true
status=0
tools/run_tests.sh cov build unit cli || status=$?
gcovr --root . --filter src/ --object-directory "$build/cov" --gcov-ignore-parse-errors \
    --sort-percentage 2>/dev/null "$build/cov"
exit "$status"

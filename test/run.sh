#!/usr/bin/env bash
# Run every test: test/run.sh [pytest options]. Sets the environment up under tools/ on first use.
# WHISPER_ER_ASSETS=/dir with real tensors, tokenizers and corpora adds the tests that need them.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/setup_env.sh
export PATH="${PWD}/tools/venv/bin:${PATH}"
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
export OMP_NUM_THREADS

ruff check .
python -m pytest "$@" test

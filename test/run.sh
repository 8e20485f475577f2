#!/usr/bin/env bash
# Run every test: test/run.sh [pytest options]. Sets the environment up under tools/ on first use.
# WHISPER_ER_ASSETS=/dir with real tensors, tokenizers and corpora adds the tests that need them.
# WHISPER_ER_INSTALL="slurm chromium" lets root install these from Debian: Slurm for the tests that start a private one
# (tools/slurm), Chromium for those that open the reports.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/setup_env.sh
export PATH="${PWD}/tools/venv/bin:${PATH}"
cores=$(env -u OMP_NUM_THREADS nproc)  # it would count those threads
export OMP_NUM_THREADS=1  # a file of tests per core at a time

has_slurm() { (PATH+=:/usr/sbin && type sbatch slurmctld slurmd munged) >/dev/null 2>&1; }
has_chromium() { type chromium || type chromium-browser || type google-chrome; } >/dev/null 2>&1

provide() {  # provide NAME PACKAGE...: what the tests of NAME need, where it may be installed
    local name=$1
    shift
    ! "has_${name}" || return 0
    if [[ " ${WHISPER_ER_INSTALL:-} " == *" ${name} "* ]] && [ "$(id -u)" -eq 0 ] && type apt-get >/dev/null 2>&1; then
        echo "installing ${name} for its tests"
        { timeout 300 apt-get update && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y \
            --no-install-recommends "$@"; } >/dev/null || echo "${name} could not be installed"
    fi
    "has_${name}" || echo "tests of ${name} will be skipped: it is not installed (apt-get install $*)"
}
provide slurm slurm-wlm munge
provide chromium chromium

ruff check .
ruff format --check --quiet . || { echo "not formatted: run ruff format ." >&2; exit 1; }
# One more than there are cores: the tests of Slurm mostly wait.
python -m pytest -rfEs -n "$((cores + 1))" --dist loadfile --no-loadscope-reorder "$@" test

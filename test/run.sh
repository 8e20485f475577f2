#!/usr/bin/env bash
# Run every test: test/run.sh [pytest options]. Sets the environment up under tools/ on first use.
# WHISPER_ER_ASSETS=/dir with real tensors, tokenizers and corpora adds the tests that need them.
# WHISPER_ER_INSTALL_SLURM=1 lets root install Debian's Slurm, for the tests that start a private one (tools/slurm).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/setup_env.sh
export PATH="${PWD}/tools/venv/bin:${PATH}"
cores=$(env -u OMP_NUM_THREADS nproc)  # it would count those threads
export OMP_NUM_THREADS=1  # a file of tests per core at a time

has_slurm() { (PATH+=:/usr/sbin && type sbatch slurmctld slurmd munged) >/dev/null 2>&1; }
if ! has_slurm && [ "${WHISPER_ER_INSTALL_SLURM:-}" == 1 ] && [ "$(id -u)" -eq 0 ] && type apt-get >/dev/null 2>&1; then
    echo "installing Slurm for its tests"
    { timeout 300 apt-get update && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y \
        --no-install-recommends slurm-wlm munge; } >/dev/null || echo "Slurm could not be installed"
fi
has_slurm || echo "tests on Slurm will be skipped: it is not installed (apt-get install slurm-wlm munge)"

ruff check .
python -m pytest -rfEs -n "${cores}" --dist loadfile --no-loadscope-reorder "$@" test

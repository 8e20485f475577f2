#!/usr/bin/env bash
# Speak the spoken_events corpus -> downloads/spoken_events, ${datadir:-data}/{train,valid,test}.
set -euo pipefail
export paths_from=${paths_from:-${PWD}}  # ser.sh says where the user stands
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
. ./path.sh

# One thread: each sentence is spoken by a fork of the process, which other threads would only disturb.
OMP_NUM_THREADS=1 python local/make_corpus.py --data_dir "${datadir:-data}" "$@"

#!/usr/bin/env bash
# Speak the mini_emo corpus -> downloads/mini_emo, ${datadir:-data}/all. --help lists the options.
#   local/data.sh --utterances_per_speaker 60
set -euo pipefail
export paths_from=${paths_from:-${PWD}}  # ser.sh says where the user stands
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
. ./path.sh

# One thread: each sentence is spoken by a fork of the process, which other threads would only disturb.
OMP_NUM_THREADS=1 python local/make_corpus.py --out_dir "${datadir:-data}/all" "$@"

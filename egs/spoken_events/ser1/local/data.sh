#!/usr/bin/env bash
# Speak the spoken_events corpus -> downloads/spoken_events, ${datadir:-data}/{train,valid,test}. Run in the recipe directory.
set -euo pipefail

# shellcheck source=/dev/null
. ./path.sh

# One thread: each sentence is spoken by a fork of the process, which other threads would only disturb.
OMP_NUM_THREADS=1 python local/make_corpus.py --data_dir "${datadir:-data}" "$@"

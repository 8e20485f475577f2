#!/usr/bin/env bash
# RAVDESS speech as published -> data/all. Run in the recipe directory; `local/data.sh --help` lists the options.
#   local/data.sh --corpus_dir downloads/ravdess
set -euo pipefail

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_ravdess.py --out_dir "${datadir:-data}/all" "$@"

#!/usr/bin/env bash
# RAVDESS speech as published -> data/all. `local/data.sh --help` lists the options.
#   local/data.sh --corpus_dir downloads/ravdess
set -euo pipefail
export paths_from=${paths_from:-${PWD}}  # ser.sh says where the user stands
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_ravdess.py --out_dir "${datadir:-data}/all" "$@"

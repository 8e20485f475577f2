#!/usr/bin/env bash
# IEMOCAP as released -> data/all. `local/data.sh --help` lists the options.
#   local/data.sh --corpus_dir /path/to/IEMOCAP_full_release
set -euo pipefail
export paths_from=${paths_from:-${PWD}}  # ser.sh says where the user stands
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_iemocap.py --out_dir "${datadir:-data}/all" "$@"

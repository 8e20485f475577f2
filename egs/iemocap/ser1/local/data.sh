#!/usr/bin/env bash
# IEMOCAP as released -> data/all. Run in the recipe directory; `local/data.sh --help` lists the options.
#   local/data.sh --corpus_dir /path/to/IEMOCAP_full_release
set -euo pipefail

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_iemocap.py --out_dir "${datadir:-data}/all" "$@"

#!/usr/bin/env bash
# EmoDB as published -> data/all. Run in the recipe directory; `local/data.sh --help` lists the options.
#   local/data.sh --corpus_dir downloads/emodb
set -euo pipefail

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_emodb.py --out_dir "${datadir:-data}/all" "$@"

#!/usr/bin/env bash
# A corpus by EmoBox's lists -> data/<corpus>/all. Run in the recipe directory; `local/data.sh --help` lists the options.
#   local/data.sh --emobox EmoBox --downloads downloads --corpus ravdess
set -euo pipefail

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_emobox.py --out_dir "${datadir:-data}/all" "$@"

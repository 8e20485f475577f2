#!/usr/bin/env bash
# A corpus by EmoBox's lists -> data/all. `local/data.sh --help` lists the options.
#   local/data.sh --emobox EmoBox --downloads downloads --corpus ravdess
set -euo pipefail
export paths_from=${paths_from:-${PWD}}  # ser.sh says where the user stands
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
. ./path.sh

python local/prepare_emobox.py --out_dir "${datadir:-data}/all" "$@"

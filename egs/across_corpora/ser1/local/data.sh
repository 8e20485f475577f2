#!/usr/bin/env bash
# Sets of several corpora -> data/<name>/{train,valid,test_...}: the file that describes the corpora, then one word for
# each set to write. run.sh says them.
#   local/data.sh conf/corpora.yaml "train=emodb:fold1/train ravdess:fold4/train" "test_savee=savee:all"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
. ./path.sh

corpora=$1
for word in "${@:2}"; do
    whisper-er pool_corpora --corpora "${corpora}" --sets "${word#*=}" --out_dir "${datadir:-data}/${word%%=*}"
done

#!/usr/bin/env bash
# EmoDB: 7 emotions, German, 5 folds of two speakers. An option of the call wins over one here (./run.sh --help).
#   ./run.sh --corpus_dir downloads/emodb --whisper_model openai/whisper-base
set -euo pipefail
paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"

./ser.sh \
    --lang de \
    --tasks "asr gender emotion" \
    --folds "1 2 3 4 5" \
    --ser_config conf/train_serialmtl.yaml \
    --inference_config conf/decode.yaml \
    --paths_from "${paths_from}" "$@"

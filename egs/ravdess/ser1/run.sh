#!/usr/bin/env bash
# RAVDESS speech: 8 emotions, English, 6 folds of four actors. An option of the call wins over one here (--help).
#   ./run.sh --corpus_dir downloads/ravdess --whisper_model openai/whisper-base.en
set -euo pipefail
paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"

./ser.sh \
    --lang en \
    --tasks "asr gender emotion" \
    --folds "1 2 3 4 5 6" \
    --ser_config conf/train_serialmtl.yaml \
    --inference_config conf/decode.yaml \
    --paths_from "${paths_from}" "$@"

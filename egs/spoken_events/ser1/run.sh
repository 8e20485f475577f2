#!/usr/bin/env bash
# Events told in one neutral tone: only the words tell the emotion. Spoken on the spot; whisper-base on two CPU cores.
# An option of the call wins over one here (./run.sh --help).
#   ./run.sh --whisper_model openai/whisper-base
set -euo pipefail
paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"

./ser.sh \
    --lang en \
    --tasks "asr emotion" \
    --ser_config conf/train_serialmtl.yaml \
    --inference_config conf/decode.yaml \
    --paths_from "${paths_from}" "$@"

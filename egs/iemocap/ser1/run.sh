#!/usr/bin/env bash
# IEMOCAP: 4 emotions, English, 5 folds of one session each. An option of the call wins over one here (--help).
#   ./run.sh --iemocap /path/to/IEMOCAP_full_release --whisper_model openai/whisper-large-v3    the paper's A+G+S row
#   ./run.sh --preset paper_transformers ...    with other assumptions where the paper says nothing (conf/paper_*)
# --iemocap is --corpus_dir. README.md has the other systems; ./paper.sh runs all of them.
set -euo pipefail
paths_from=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=paper/preset.sh
. ./paper/preset.sh

apply_preset \
    --lang en \
    --tasks "asr gender emotion" \
    --folds "1 2 3 4 5" \
    --score_by style \
    --ser_config conf/train_serialmtl.yaml \
    --inference_config conf/decode.yaml \
    --paths_from "${paths_from}" "${@/#--iemocap/--corpus_dir}"
./ser.sh "${arguments[@]}"

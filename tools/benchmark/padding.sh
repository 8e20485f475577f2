#!/usr/bin/env bash
# What padding buys: the same fine-tuning with every pad rule, and a table of accuracy against cost.
#   tools/benchmark/padding.sh --emodb /path/to/emodb --ravdess /path/to/ravdess \
#       --encoder_model /path/to/whisper-base --whisper_model /path/to/whisper-tiny.en
# A cell is a corpus, a system and a pad rule: one call of the corpus's run.sh, the same fold, seed and steps for every
# rule. Called again, it does what is missing; cells are in egs/<corpus>/ser1/exp/padding.
# shellcheck disable=SC1091,SC2034  # what is sourced is checked by itself, and reads these
set -euo pipefail

## options
# What
corpora="emodb ravdess" # corpora to run
systems="conventional whisper_er" # systems to run
pads="none +1 +2 +4 30s" # pad rules to run
emodb=""               # EmoDB as published
ravdess=""             # RAVDESS as published
encoder_model=""       # Whisper whose encoder the conventional method takes: directory or hub name
whisper_model=""       # Whisper for Whisper-ER (gender + emotion): directory or hub name

# How
emodb_folds="1"        # test folds of EmoDB
ravdess_folds="6"      # test folds of RAVDESS
emodb_steps=120        # updates of 16 utterances
ravdess_steps=160      # updates of 16 utterances
ser_args="valid_interval=30 n_best=1 num_workers=0" # further changes to the configurations
table_only=false       # only print the table of what has been scored
## end of options

cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../egs/TEMPLATE/ser1/utils/parse_options.sh
parse_options "$@"
. ../../egs/TEMPLATE/ser1/path.sh

cell() {  # cell CORPUS SYSTEM PAD
    local folds=$1_folds steps=$1_steps options=(--whisper_model "${whisper_model}" --tasks "gender emotion")
    if [ "$2" == conventional ]; then
        options=(--whisper_model "${encoder_model}" --tasks emotion --ser_config conf/train_conventional.yaml)
    fi
    "../../egs/$1/ser1/run.sh" --corpus_dir "${!1}" --expdir exp/padding --ser_tag "$2_${3// /}" \
        --folds "${!folds}" --ser_args "'model.pad=$3' max_steps=${!steps} ${ser_args}" "${options[@]}"
}

if [ "${table_only}" == false ]; then
    read -r -a corpora <<<"${corpora}"
    read -r -a systems <<<"${systems}"
    read -r -a pads <<<"${pads}"
    for corpus in "${corpora[@]}"; do
        for system in "${systems[@]}"; do
            for pad in "${pads[@]}"; do cell "${corpus}" "${system}" "${pad}"; done
        done
    done
fi
python padding.py

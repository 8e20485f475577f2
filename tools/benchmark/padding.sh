#!/usr/bin/env bash
# What padding is worth: the same fine-tuning with every pad rule, tested on its own corpus and on the other one.
#   tools/benchmark/padding.sh --emodb /path/to/emodb --ravdess /path/to/ravdess --whisper_model openai/whisper-base
#   tools/benchmark/padding.sh ... --ngpu 1 --seeds "1 2 3"
# A cell is a corpus, a system and a pad rule: one call of the corpus's run.sh, the same fold, seeds and steps for every
# rule. Its model also decodes the test fold of the other corpus, of the emotions that both have, after the language
# token of that corpus. Called again, it does what is missing; cells are in egs/<corpus>/ser1/exp/padding.
# shellcheck disable=SC1091,SC2034  # what is sourced is checked by itself, and reads these
set -euo pipefail

## options
# What
emodb=""               # path to read: EmoDB as published
ravdess=""             # path to read: RAVDESS as published
whisper_model=""       # path to read, or hub name: pretrained multilingual Whisper
corpora="emodb ravdess" # corpora to train on; the other one is prepared as well
systems="conventional a_g_s" # systems to run
pads="none, to 10, to 15, 30s, mixed" # pad rules; mixed: 30s in a fifth of the training batches, else and later none

# How
emodb_fold=1           # test fold of EmoDB
ravdess_fold=4         # test fold of RAVDESS
steps=600              # updates of 16 utterances
seeds="1"              # seeds to train with, such as "1 2 3"
ngpu=0                 # GPUs for training and decoding; 0: the CPU
ser_args="n_best=1"    # further changes to the configurations
run_opts=""            # more options of run.sh
table_only=false       # only print the table of what has been scored
## end of options

export paths_from=${PWD}  # also of run_opts
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../egs/TEMPLATE/ser1/utils/parse_options.sh
parse_options "$@"
declare -a more
split_words more "${run_opts}"
. ../../egs/TEMPLATE/ser1/path.sh

declare -A language=([emodb]=de [ravdess]=en) other=([emodb]=ravdess [ravdess]=emodb)
declare -A mixed=([mixed]="'model.train_pad={none: 0.8, 30s: 0.2}'")
[ "${ngpu}" -eq 0 ] || more+=(--ngpu "${ngpu}" --gpu_inference true)

recipe() {  # recipe CORPUS [option of its run.sh ...]
    (cd "../../egs/$1/ser1" && ./run.sh "${@:2}" --paths_from "${OLDPWD}" --corpus_dir "${!1}" \
        --whisper_model "${whisper_model}" --paths_from "${paths_from}" ${more[@]+"${more[@]}"})
}

cell() {  # cell CORPUS SYSTEM PAD: train it, test it on its own corpus and on the other
    local fold=$1_fold tag=$2_${3// /}_${steps} seed tasks="asr gender emotion" config=serialmtl decode_args
    decode_args=("lang=${language[${other[$1]}]}")
    if [ "$2" == conventional ]; then
        tasks=emotion config=conventional decode_args=()
    fi
    recipe "$1" --expdir exp/padding --ser_tag "${tag}" --folds "${!fold}" --seeds "${seeds}" --tasks "${tasks}" \
        --ser_config "conf/train_${config}.yaml" \
        --ser_args "'model.pad=${3/mixed/none}' ${mixed[$3]:-} max_steps=${steps} ${ser_args}"
    for seed in ${seeds}; do
        other_corpus "$1" "${other[$1]}" "exp/padding/${tag}/seed${seed}/fold${!fold}" "${tasks}" \
            ${decode_args[@]+"${decode_args[@]}"}
    done
}

other_corpus() (  # other_corpus CORPUS OTHER FOLD_DIR TASKS [key=value ...]
    fold=$2_fold exp=../../$1/ser1/$3 to=../../$1/ser1/$3/decode_$2/test data=dump/fold${!fold}/test_emotions_of_$1
    cd "../../egs/$2/ser1"  # what its tables of audio are relative to
    [ ! -f "${to}/score/result.json" ] || exit 0
    python "${OLDPWD}/shared_labels.py" --data_dir "dump/fold${!fold}/test" --labels_of "../../$1/ser1/dump/all" \
        --out_dir "${data}"
    python -m whisper_er.bin.decode --config conf/decode.yaml --exp_dir "${exp}" --data_dir "${data}" \
        --out_dir "${to}" --ngpu "$((ngpu > 0))" "${@:5}"
    python -m whisper_er.bin.score --ref_dir "${data}" --hyp_dir "${to}" --tasks "$4" --exp_dir "${exp}" \
        --out "${to}/score/result.json"
)

if [ "${table_only}" == false ]; then
    for name in emodb ravdess whisper_model; do [ -n "${!name}" ] || usage_error "--${name} is missing"; done
    for corpus in emodb ravdess; do
        fold=${corpus}_fold
        recipe "${corpus}" --stage 1 --stop_stage 1 --folds "${!fold}"
    done
    IFS=, read -r -a rules <<<"${pads//, /,}"
    for corpus in ${corpora}; do
        for system in ${systems}; do
            for pad in "${rules[@]}"; do cell "${corpus}" "${system}" "${pad}"; done
        done
    done
fi
python padding.py

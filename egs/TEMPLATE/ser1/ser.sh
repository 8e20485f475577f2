#!/usr/bin/env bash
# The stages of a recipe, from a corpus to a table of scores. Called by run.sh in a recipe directory; knows no corpus.
#   ./run.sh                                  everything
#   ./run.sh --stage 3 --stop_stage 6         training to scoring
#   ./run.sh --help                           every option
# A stage that is asked for again does only what is missing or out of date.
# shellcheck disable=SC1091  # what is sourced is checked by itself
set -euo pipefail

## options
# Stages: 1 data prep, 2 token list, 3 training, 4 averaging, 5 decoding, 6 scoring, 7 export
stage=1                # first stage to run
stop_stage=7           # last stage to run
skip_stages=""         # stages to leave out, such as "1 2"
skip_export=true       # leave out stage 7 (a Hugging Face model directory, and one for CTranslate2)

# Machine
ngpu=0                 # GPUs for training, on each machine; 0: the CPU
num_nodes=1            # machines for one training (cmd_backend=slurm)
gpu_inference=false    # decode on a GPU
nj=4                   # processes that format the audio
inference_nj=1         # parts that each set is decoded in; on one machine so many at the same time

# Directories
datadir=data           # path to write: what local/data.sh writes, and token lists
dumpdir=dump           # path to write: 16 kHz mono sets, ready for training
expdir=exp             # path to write: experiments

# Data
corpus_dir=""          # path to read: the corpus as published; local/data.sh gets it as --corpus_dir
local_data_opts=""     # more options of local/data.sh, such as "--name 'two words'"
folds=""               # folds to run, such as "1 2 3 4 5" (data/all/utt2fold); empty: the ready sets named below
train_set=train        # set to train on
valid_set=valid        # set that chooses the model
test_sets="test"       # sets to decode and score; with folds also copies of the test set, such as "test test_10dB"
valid_split=session    # with folds, what validates: session (the fold after the test fold) or random:<share>
audio_format=wav       # how stage 1 writes audio: wav, flac, or everything into arks, wav.ark or flac.ark
silent_audio=error     # utterances without any sound: error, or keep, which names and keeps them
allow_pipes=false      # let wav.scp hold commands (they are run as you)
allow_shared_speakers=false # let training, validation and test share speakers

# Tasks and tokens
tasks="asr gender emotion" # what is predicted, in this order: asr (text), any other name reads utt2<name>
scales=""              # tasks with ordered values, name=low:high:bins, such as "valence=1:5:9"
open_tasks=""          # categories of which labels that training lacks count as missing, such as "speaker"
token_type=whisper     # whisper (the model's own tokens), bpe (SentencePiece of the training set) or none (no text)
bpe_size=100           # units of bpe
whisper_model=""       # path to read, or hub name: pretrained Whisper; needed by token_type=whisper
encoder_model=""       # path to read, or hub name: wav2vec 2.0, HuBERT or WavLM (conventional method, token_type=none)
lang=en                # language of the speech

# Training
ser_config=conf/train_serialmtl.yaml # path to read: model and training
ser_args=""            # changes to ser_config, such as "max_steps=100 optim.lr=1e-4"
ser_tag=""             # name of the experiment; empty: from ser_config, the model, ser_args and tasks
seeds=""               # seeds to train with, such as "1 2 3", each in exp/<ser_tag>/seed<k>; empty: that of ser_config

# Decoding
inference_config=conf/decode.yaml # path to read: decoding
inference_args=""      # changes to inference_config, such as "beam_size=1"
inference_model=ave.safetensors # weights to decode, a file of the experiment (whisper-er interpolate)
inference_tag=""       # name of this way of decoding; empty: from inference_config and inference_args
score_by=""            # score apart by tables utt2<name> as well, such as "style"

# Export
data_card=conf/data_card.yaml # path to read: what the model card says about the corpus: licence, intended use; may be missing
ctranslate2=""         # also as CTranslate2 model with this quantization (float32, int8, ...); empty: none
ctranslate2_allow_different=0 # utterances of the first test set that may get another label by it
## end of options

export paths_from=${PWD}  # also for local/data.sh
cd "$(dirname "$0")"
. ./utils/parse_options.sh
. ./utils/check_options.sh
. ./utils/up_to_date.sh
. ./utils/for_folds.sh
. ./utils/decode_sets.sh
. ./utils/export_models.sh
. ./utils/lock_data.sh
. ./utils/lock_folds.sh
parse_options "$@"
called=$(printf ' %q' ./ser.sh "${parsed[@]}")
check_options
declare -a data_opts train_args decode_args
split_words data_opts "${local_data_opts}"
split_words train_args "${ser_args}"
split_words decode_args "${inference_args}"

say() { echo "$(date '+%Y-%m-%d %H:%M:%S') stage $1: ${*:2}"; }
die() { echo "error: ${*//[[:cntrl:]]/?}" >&2; exit 1; }

. ./path.sh
. ./cmd.sh
read -r -a train_cmd <<<"${train_cmd}"
read -r -a cuda_cmd <<<"${cuda_cmd}"
read -r -a decode_cmd <<<"${decode_cmd}"
read -r -a folds <<<"${folds}"
read -r -a test_sets <<<"${test_sets}"
parts=("")  # what follows the name of dump, token list and experiment: nothing, or /fold1 /fold2 ...
each=""     # the same for all folds of an array of jobs
if [ ${#folds[@]} -gt 0 ]; then
    parts=("${folds[@]/#//fold}")
    each=/foldJOB
fi

sanitise() { local name=${1//[^A-Za-z0-9_.=-]/_}; echo "${name}"; }
stem() { local name=${1##*/}; echo "${name%.yaml}"; }
model=${whisper_model:-${encoder_model}}
model=${model%/}
joined_tasks=$(sanitise "${tasks}${open_tasks:+ open ${open_tasks}}")
if [ -z "${ser_tag}" ]; then
    ser_tag=$(sanitise "$(stem "${ser_config}")${model:+_${model##*/}}${ser_args:+_${ser_args}}_${joined_tasks}")
fi
if [ -z "${inference_tag}" ]; then
    inference_tag=$(stem "${inference_config}")
    inference_tag=$(sanitise "${inference_tag#decode}${inference_args:+_${inference_args}}")
    [ "${inference_model}" == ave.safetensors ] || inference_tag+=_$(sanitise "${inference_model%.safetensors}")
    inference_tag=${inference_tag#_}
    inference_tag=${inference_tag:-default}
fi
exp=${expdir}/${ser_tag}
vocabulary=bpe${bpe_size}
[ "${token_type}" != whisper ] || vocabulary=whisper_$(sanitise "${model##*/}")
[ "${token_type}" != none ] || vocabulary=none
token_lists=${datadir}/token_list/${vocabulary}_${lang}_${joined_tasks}
model_opts=()
[ -z "${whisper_model}" ] || model_opts=(--whisper_model "${whisper_model}")
seed_args=()
# In the names of logs of several folds, since other folds may be run by another call at the same time.
of_folds=${each:+/folds_$(sanitise "${folds[*]}")}
read -r -a seeds <<<"${seeds}"

have() { local path; for path in "$@"; do [ -e "${path}" ] || return 1; done; }
need() { [ -e "$1" ] || die "$1 is missing: run stage $2 first"; }
asked() { [ "${stage}" -le "$1" ] && [ "$1" -le "${stop_stage}" ] && [[ " ${skip_stages} " != *" $1 "* ]]; }
check_config() {  # check_config OPTION KIND [key=value ...]
    [ -f "${!1}" ] || die "${!1} is missing: write it, or choose another file with --$1"
    run_python check_config --kind "$2" --config "${!1}" "${@:3}"
}
run_python() { python -m "whisper_er.bin.$1" "${@:2}"; }

stage_1() {  # data prep
    local raw_sets set_name options command fold source changed stale=() sources=(local) files=()
    if [ ${#folds[@]} -gt 0 ]; then raw_sets=(all); else raw_sets=("${train_set}" "${valid_set}" "${test_sets[@]}"); fi

    # A list of labels may have been mended, or a file that is named in an option.
    for source in ${corpus_dir:+"${corpus_dir}"/*} ${data_opts[@]+"${data_opts[@]}"}; do
        [ ! -f "${source}" ] || sources+=("${source}")
    done
    for source in "${raw_sets[@]/#/"${datadir}/"}"; do  # or what local/data.sh has listed, a path a line
        [ ! -f "${source}/.made_from" ] || mapfile -t -O "${#sources[@]}" sources <"${source}/.made_from"
    done
    options="local/data.sh${corpus_dir:+ --corpus_dir ${corpus_dir}}${data_opts[*]+ ${data_opts[*]}}"
    if ! have "${raw_sets[@]/#/"${datadir}/"}" || ! up_to_date "${datadir}/.made_with" "${options}" "${sources[@]}"; then
        command=$(printf '%q ' local/data.sh ${corpus_dir:+--corpus_dir "${corpus_dir}"} ${data_opts[@]+"${data_opts[@]}"})
        say 1 "data prep: ${command}-> ${datadir}/ (log: ${dumpdir}/log/data.log)"
        rm -f "${datadir}/.made_with"  # one that is stopped half way stamps nothing
        # A directory that was found has its whole path: local/data.sh counts from where the user stands.
        [ ! -e "${corpus_dir}" ] || corpus_dir=$(realpath -s -- "${corpus_dir}")
        "${train_cmd[@]}" --name local/data.sh "${dumpdir}/log/data.log" env datadir="${datadir}" local/data.sh \
            ${corpus_dir:+--corpus_dir "${corpus_dir}"} ${data_opts[@]+"${data_opts[@]}"}
        have "${raw_sets[@]/#/"${datadir}/"}" \
            || die "local/data.sh ended well but did not write ${datadir}/ with the sets: ${raw_sets[*]}"
        for set_name in "${raw_sets[@]}"; do files+=("${datadir}/${set_name}"/*); done
        mark "${datadir}/.made_with" "${options}" "${files[@]}"
    fi

    for set_name in "${raw_sets[@]}"; do
        run_python validate_data_dir "${datadir}/${set_name}" --tasks "${tasks}"
        options="allow_pipes=${allow_pipes} audio_format=${audio_format}"
        if up_to_date "${dumpdir}/${set_name}/.made_with" "${options}" "${datadir}/${set_name}"; then
            changed=$(run_python check_audio --data_dir "${datadir}/${set_name}" --dump_dir "${dumpdir}/${set_name}")
            [ -n "${changed}" ] || continue
            say 1 "${changed}"
        fi
        say 1 "data prep: ${datadir}/${set_name} -> ${dumpdir}/${set_name} (log: ${dumpdir}/log/${set_name}.log)"
        "${train_cmd[@]}" --num_threads "${nj}" --name format_data "${dumpdir}/log/${set_name}.log" \
            env OMP_NUM_THREADS=1 python -m whisper_er.bin.format_data --data_dir "${datadir}/${set_name}" \
            --out_dir "${dumpdir}/${set_name}" --allow_pipes "${allow_pipes}" --nj "${nj}" \
            --audio_format "${audio_format}" --silent_audio "${silent_audio}"
        mark "${dumpdir}/${set_name}/.made_with" "${options}" "${dumpdir}/${set_name}"/*
    done

    if [ ${#folds[@]} -eq 0 ]; then
        run_python check_speakers --train_set "${dumpdir}/${train_set}" --valid_set "${dumpdir}/${valid_set}" \
            --test_set "${test_sets[@]/#/"${dumpdir}/"}" --allow_shared_speakers "${allow_shared_speakers}"
        return
    fi
    options="allow_shared_speakers=${allow_shared_speakers} valid_split=${valid_split}"
    for fold in "${folds[@]}"; do
        have "${dumpdir}/fold${fold}"/{train,valid,test} \
            && up_to_date "${dumpdir}/fold${fold}/.made_with" "${options}" "${dumpdir}/all" || stale+=("${fold}")
    done
    [ ${#stale[@]} -gt 0 ] || return 0
    say 1 "data prep: ${dumpdir}/all -> ${dumpdir}/fold{${stale[*]}}/{train,valid,test}"
    for fold in "${stale[@]}"; do rm -f "${dumpdir}/fold${fold}/.made_with"; done
    run_python make_folds --data_dir "${dumpdir}/all" --out_dir "${dumpdir}" --folds "${stale[*]}" \
        --allow_shared_speakers "${allow_shared_speakers}" --valid_split "${valid_split}"
    for fold in "${stale[@]}"; do
        mark "${dumpdir}/fold${fold}/.made_with" "${options}" "${dumpdir}/fold${fold}"/{train,valid,test}/*
    done
}

stage_2() {  # token list
    local part to sets token_opts=(--tasks "${tasks}" --token_type "${token_type}" --lang "${lang}")
    [ -z "${scales}" ] || token_opts+=(--scales "${scales}")
    [ -z "${open_tasks}" ] || token_opts+=(--open_tasks "${open_tasks}")
    if [ "${token_type}" == bpe ]; then
        token_opts+=(--bpe_size "${bpe_size}")
    elif [ "${token_type}" == whisper ]; then
        [ -n "${whisper_model}" ] || die "token_type=whisper needs --whisper_model (a hub name or a directory)"
        token_opts+=("${model_opts[@]}")
    fi
    for part in "${parts[@]}"; do need "${dumpdir}${part}/${train_set}" 1; done
    sets=("${dumpdir}${each}/${train_set}" "${dumpdir}${each}/${valid_set}" "${test_sets[@]/#/"${dumpdir}${each}/"}")
    to=${token_lists}${each}
    for_folds 2 "token list: ${sets[0]} -> ${to}" train_cmd \
        "${datadir}/token_list/log/${token_lists##*/}${of_folds}.log" \
        "${to}/.made_with" "${token_opts[*]}" "${sets[@]}" -- \
        python -m whisper_er.bin.token_list --train_set "${sets[0]}" "${token_opts[@]}" --out_dir "${to}" \
        --check_sets "${sets[@]}"
}

stage_3() {  # training; it resumes by itself, or says that it has finished
    local part job=() trainer=(python)
    for part in "${parts[@]}"; do
        need "${dumpdir}${part}/${train_set}" 1
        need "${dumpdir}${part}/${valid_set}" 1
        need "${token_lists}${part}/.made_with" 2
        say 3 "training: ${dumpdir}${part}/${train_set} + ${token_lists}${part} -> ${exp}${part}" \
            "(log: ${exp}${part}/train.log)"
    done
    [ -z "${each}" ] || job=("$(job_list "${folds[@]}")")
    if [ "${ngpu}" -gt 0 ] || [ "${num_nodes}" -gt 1 ]; then
        # One process per GPU. A stop is passed on; to save a large model may take minutes (torch 2.11 gives it 30 s).
        trainer=(torchrun --nproc-per-node "$((ngpu > 0 ? ngpu : 1))")
        [[ $(torchrun --help) != *--shutdown-timeout* ]] || trainer+=(--shutdown-timeout 600)
        [ "${num_nodes}" -gt 1 ] || trainer+=(--standalone)
    fi
    "${cuda_cmd[@]}" --gpu "${ngpu}" --num_nodes "${num_nodes}" --resume --name training ${job[@]+"${job[@]}"} \
        "${exp}${each}/train.log" "${trainer[@]}" \
        -m whisper_er.bin.train --config "${ser_config}" --train_set "${dumpdir}${each}/${train_set}" \
        --valid_set "${dumpdir}${each}/${valid_set}" --token_list "${token_lists}${each}" --exp_dir "${exp}${each}" \
        ${model_opts[@]+"${model_opts[@]}"} ${encoder_model:+--encoder_model "${encoder_model}"} --ngpu "${ngpu}" \
        ${train_args[@]+"${train_args[@]}"} ${seed_args[@]+"${seed_args[@]}"}
}

stage_4() {  # averaging
    local part
    for part in "${parts[@]}"; do need "${exp}${part}/checkpoints" 3; done
    for_folds 4 "averaging: ${exp}${each}/checkpoints -> ${exp}${each}/ave.safetensors" train_cmd \
        "${exp}/log/average${of_folds}.log" "${exp}${each}/.averaged" average \
        "${exp}${each}/checkpoints" "${exp}${each}/ave.safetensors" -- \
        python -m whisper_er.bin.average --exp_dir "${exp}${each}"
}

stage_5() {  # decoding
    local part set_name from to work stale=() options="${decode_args[*]+${decode_args[*]}}"
    [ "${inference_model}" == ave.safetensors ] || options+=" of ${inference_model}"
    for part in "${parts[@]}"; do
        need "${exp}${part}/${inference_model}" 4
        for set_name in "${test_sets[@]}"; do
            from=${dumpdir}${part}/${set_name}
            to=${exp}${part}/decode_${inference_tag}/${set_name}
            [[ -z ${each} || ${set_name} == test ]] || have "${from}" \
                || die "${from} is missing: whisper-er augment_dir writes it"
            need "${from}" 1
            up_to_date "${to}/.made_with" "${options}" "${inference_config}" "${exp}${part}/${inference_model}" "${from}" \
                || stale+=("${exp}${part}" "${from}" "${to}")
        done
    done
    work=${exp}/log/decode_${inference_tag}${of_folds}
    [ ${#stale[@]} -eq 0 ] || decode_sets "${work}" "${options}" "${stale[@]}"
}

stage_6() {  # scoring
    local part set_name ref hyp
    for set_name in "${test_sets[@]}"; do
        for part in "${parts[@]}"; do need "${exp}${part}/decode_${inference_tag}/${set_name}" 5; done
        ref=${dumpdir}${each}/${set_name}
        hyp=${exp}${each}/decode_${inference_tag}/${set_name}
        for_folds 6 "scoring: ${hyp} + ${ref} -> ${hyp}/score/result.json" train_cmd \
            "${exp}/log/decode_${inference_tag}${of_folds}/${set_name}.score.log" \
            "${hyp}/score/.made_with" "${tasks} by ${score_by}" "${hyp}" "${ref}" -- \
            python -m whisper_er.bin.score --ref_dir "${ref}" --hyp_dir "${hyp}" --tasks "${tasks}" \
            --score_by "${score_by}" --exp_dir "${exp}${each}" --out "${hyp}/score/result.json"
    done
    [ ${#seeds[@]} -gt 0 ] || gather "${exp}" ""
}

gather() {  # gather EXP_DIR SEEDS: tables over the folds of this and earlier calls, and over seeds
    local part scored=()
    for part in "${exp}"/fold*/decode_"${inference_tag}"/"${test_sets[0]}"/score/result.json; do
        if [ ${#folds[@]} -eq 0 ] || [ ! -f "${part}" ]; then continue; fi
        part=${part#"${exp}/fold"}
        scored+=("${part%%/*}")
    done
    say 6 "scoring: $1: results"
    run_python results --exp_dir "$1" --folds "${scored[*]+${scored[*]}}" --seeds "$2" --test_sets "${test_sets[*]}" \
        --run_command "${called# }"
}

stage_7() { export_models; }
if [ "${skip_export}" == true ]; then
    [ "${stage}" -lt 7 ] || die "stage 7 is left out: --skip_export false runs it"
    skip_stages+=" 7"
fi
# What can be wrong with the configurations is found before the stages that take hours.
if asked 3; then check_config ser_config train ${train_args[@]+"${train_args[@]}"}; fi
if asked 5; then check_config inference_config decode ${decode_args[@]+"${decode_args[@]}"}; fi
experiment=${exp}
for n in 1 2 3 4 5 6 7; do
    asked "${n}" || continue
    if [ "${n}" -le 2 ]; then lock_data "${n}"; else unlock_data; fi
    if [ "${n}" -le 2 ] || [ ${#seeds[@]} -eq 0 ]; then
        [ "${n}" -le 2 ] || lock_folds
        "stage_${n}"
        continue
    fi
    for seed in "${seeds[@]}"; do
        exp=${experiment}/seed${seed}
        seed_args=("seed=${seed}")
        lock_folds
        "stage_${n}"
    done
    [ "${n}" -ne 6 ] || gather "${experiment}" "${seeds[*]}"
done
